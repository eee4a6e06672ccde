//! What becomes of open connections when the server stops.

use super::*;

#[test]
fn who_has_just_connected_is_answered_and_who_had_an_answer_is_let_go() {
    let mut server = Running::start(site(0, Vec::new), 9, PATIENT);
    let (mut used, mut new) = (server.used(), server.connect());
    server.wait_open(2);
    server.stop();
    wait_closed(&mut used);
    ask(&mut new, "/-/healthy");
    let mut said = String::new();
    new.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
}
