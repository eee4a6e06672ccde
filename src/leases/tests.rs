use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// 2026-11-22 12:00:00 UTC.
const NOW: u64 = 1_795_348_800;

fn read(bytes: &[u8]) -> Result<Leases, Vec<String>> {
    let mut faults = Faults::new(&Path::new("leases").into(), MOST_FAULTS);
    match parse(bytes, NOW, &mut faults) {
        Ok(leases) if faults.is_empty() => return Ok(leases),
        Ok(_) => {}
        Err(what) => faults.add(0, what),
    }
    Err(faults.into_list().iter().map(ToString::to_string).collect())
}

/// Each lease as `MAC IP NAME`.
fn told(leases: &Leases) -> Vec<String> {
    let one = |lease: &Lease| {
        let mut text = lease.mac.to_string();
        if let Some(ip) = lease.ip {
            let _ = write!(text, " {ip}");
        }
        let _ = write!(text, " {}", lease.hostname.as_deref().unwrap_or("-"));
        text
    };
    leases.list.iter().map(one).collect()
}

#[test]
fn dnsmasq() {
    let leases = read(
        b"1795353600 b8:27:eb:4f:10:07 192.168.1.20 octoprint 01:b8:27:eb:4f:10:07\n\
          0 02:00:00:00:00:01 192.168.1.21 * *\n\
          43200 02:00:00:00:00:02 192.168.1.22 clockless *\n\
          1795300000 02:00:00:00:00:03 192.168.1.23 gone *\n\
          1795353600 20-02:00:00:00:00:04:05:06 192.168.1.24 infiniband *\n\
          duid 00:01:00:01:2c:d5:a1:f0:b8:27:eb:4f:10:07\n\
          1795353600 123456 fd00::14 six 00:01:00:01\n\
          1795353600 T123456 fd00::15 * 00:01:00:01\n",
    )
    .unwrap();
    assert_eq!(leases.format, Format::Dnsmasq);
    assert_eq!(
        told(&leases),
        [
            "02:00:00:00:00:01 192.168.1.21 -",
            "02:00:00:00:00:02 192.168.1.22 clockless",
            "b8:27:eb:4f:10:07 192.168.1.20 octoprint"
        ]
    );
    assert_eq!((leases.expired, leases.without_mac), (1, 3));
    let only_six = read(b"duid 00:01\n1795353600 123456 fd00::14 six 00:01\n").unwrap();
    assert_eq!((only_six.list.len(), only_six.without_mac), (0, 1));
}

const ISC: &str = r#"# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;
server-duid "\000\001;}{\"";

lease 192.168.1.20 {
  starts 0 2026/11/22 06:00:00;
  ends 0 2026/11/22 11:00:00;
  binding state active;
  hardware ethernet b8:27:eb:4f:10:07;
}
lease 192.168.1.20 {
  starts 0 2026/11/22 11:00:00;
  ends 0 2026/11/22 18:00:00;
  binding state active;
  next binding state free;
  hardware ethernet b8:27:eb:4f:10:07;
  uid "\001\270'\353O\020\007";
  set vendor-class-identifier = "; lease }";
  client-hostname "K\303\274che \"2\"\012# x";
  on expiry { log("hardware ethernet 02:00:00:00:00:99;"); }
}
lease 192.168.1.21 { ends never; hardware ethernet 02:00:00:00:00:01; }
lease 192.168.1.22 { ends epoch 1795370400; # Sunday
  hardware ethernet 02:00:00:00:00:02; client-hostname "second"; }
lease 192.168.1.23 { ends 0 2026/11/22 18:00:00; binding state free; hardware ethernet 02:00:00:00:00:03; }
lease 192.168.1.24 { ends 6 2026/11/21 18:00:00; hardware ethernet 02:00:00:00:00:04; }
lease 192.168.1.25 { binding state active; hardware infiniband 20:00; }
host laptop { dynamic; hardware ethernet 02:00:00:00:00:05; fixed-address 192.168.1.30; }
ia-na "\001\002" { cltt 0 2026/11/22 06:00:00; iaaddr fd00::1 { binding state active; } }
"#;

#[test]
fn isc_dhcpd() {
    let leases = read(ISC.as_bytes()).unwrap();
    assert_eq!(leases.format, Format::Isc);
    assert_eq!(
        told(&leases),
        [
            "02:00:00:00:00:01 192.168.1.21 -",
            "02:00:00:00:00:02 192.168.1.22 second",
            "02:00:00:00:00:05 laptop",
            "b8:27:eb:4f:10:07 192.168.1.20 Küche \"2\"\n# x",
        ]
    );
    assert_eq!((leases.expired, leases.without_mac), (2, 1));
}

#[test]
fn isc_s_blocks_must_be_whole() {
    for (text, fault) in [
        ("lease 192.168.1.20 {\n ends never;\n", "leases:1: the file ends within"),
        ("lease 192.168.1.20 { }\n}\n", "leases:2: a block ends that has not begun"),
        ("lease 192.168.1.20 { }\n\nlease", "leases:3: the file ends within"),
        ("\nlease nowhere { hardware ethernet 02:00:00:00:00:01; }", "leases:2: \"nowhere\" is no IP"),
        ("lease 192.168.1.20 { hardware ethernet 02:00; }", "leases:1: \"02:00\" has 2 bytes"),
    ] {
        let faults = read(text.as_bytes()).unwrap_err();
        assert!(faults[0].starts_with(fault), "{faults:?}");
    }
}

const KEA: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,\
                   user_context,pool_id\n";

#[test]
fn kea() {
    let rows = "192.168.1.20,b8:27:eb:4f:10:07,01:b8,3600,1795349000,1,0,0,old,0,,0\n\
        192.168.1.20,b8:27:eb:4f:10:07,01:b8,3600,1795353600,1,0,0,octoprint.lan.,0,{ \"a\": 1&#x2c \"b\": 2 },0\n\
        192.168.1.21,02:00:00:00:00:01,,4294967295,1795300000,1,0,0,,0,,0\n\
        192.168.1.22,02:00:00:00:00:02,,3600,1795300000,1,0,0,gone,0,,0\n\
        192.168.1.23,02:00:00:00:00:03,,3600,1795353600,1,0,0,declined,1,,0\n\
        192.168.1.24,,ff:01,3600,1795353600,1,0,0,nobody,0,,0\n\
        192.168.1.25,02:00:00:00:00:05,,3600,1795353600,1,0,0,removed,0,,0\n\
        192.168.1.25,02:00:00:00:00:05,,0,1795353600,1,0,0,removed,0,,0\n";
    let leases = read(format!("{KEA}{rows}").as_bytes()).unwrap();
    assert_eq!(leases.format, Format::Kea);
    assert_eq!(
        told(&leases),
        ["02:00:00:00:00:01 192.168.1.21 -", "b8:27:eb:4f:10:07 192.168.1.20 octoprint.lan"]
    );
    assert_eq!((leases.expired, leases.without_mac), (3, 1));
    // Leases of IPv6 may tell the hardware address, in a column of its own.
    let six = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,\
        hostname,hwaddr,state\nfd00::14,00:01,3600,1795353600,1,1,0,1,128,0,0,six,02:00:00:00:00:06,0\n";
    assert_eq!(told(&read(six.as_bytes()).unwrap()), ["02:00:00:00:00:06 fd00::14 six"]);
    assert!(read(KEA.as_bytes()).unwrap().list.is_empty());
    let faults = read(format!("{KEA}192.168.1.20,02:00\n").as_bytes()).unwrap_err();
    assert_eq!(faults, ["leases:2: \"192.168.1.20,02:00\" is no lease of Kea"]);
}

#[test]
fn arpwatch() {
    let leases = read(
        b"b8:27:eb:4f:10:7\t192.168.1.20\t1795349524\toctoprint\teth0\n\
          2:0:0:0:0:1\t192.168.1.21\t1\t\teth0\n2:0:0:0:0:1\t192.168.1.22\t1\n0:0:0:0:0:2 192.168.1.20 1\n",
    )
    .unwrap();
    assert_eq!(leases.format, Format::Arpwatch);
    assert_eq!(
        told(&leases),
        [
            "00:00:00:00:00:02 192.168.1.20 -",
            "02:00:00:00:00:01 192.168.1.22 -",
            "b8:27:eb:4f:10:07 192.168.1.20 octoprint"
        ]
    );
}

#[test]
fn what_is_none_of_these_is_refused_in_one_line() {
    for bytes in [
        &b""[..],
        b"# a comment\n\n",
        b"02:00:00:00:00:01 printer\n",
        b"address,hwaddr\n",
        b"lease\n",
        b"lease {\n  interface \"eth0\";\n}\n",
        b"1795353600 02:00:00:00:00:01 nowhere x *\n",
        b"\x7fELF\x02\x01",
        b"\x1b[2J",
        "x".repeat(1 << 20).as_bytes(),
    ] {
        let faults = read(bytes).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("leases: not recognised: ") && faults[0].len() < 300, "{faults:?}");
        assert!(!faults[0].contains(['\n', '\x1b']), "{faults:?}");
    }
    let faults = read(b"0 02:00:00:00:00:01 192.168.1.1 a *\n02:00:00:00:00:01 192.168.1.1 1\n").unwrap_err();
    assert!(
        faults[0].starts_with("leases:2: ") && faults[0].ends_with("is no lease of dnsmasq"),
        "{faults:?}"
    );
}

#[test]
fn files_that_are_none_hang_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    assert!(load(&fifo, NOW).unwrap_err()[0].to_string().contains("it is not a regular file but a "));
    assert!(load(&folder.path().join("none"), NOW).unwrap_err()[0].to_string().contains("no such file"));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        drop(read(&bytes));
        for start in [KEA, "lease 192.168.1.1 {", "0 02:00:00:00:00:01 192.168.1.1 a *\n", "2:0:0:0:0:1\t1.1.1.1\t1\n"] {
            drop(read(&[start.as_bytes(), &bytes].concat()));
        }
    }

    #[test]
    fn any_text_of_these_words_is_answered(
        words in proptest::collection::vec(
            prop_oneof![
                Just("lease"), Just("{"), Just("}"), Just(";"), Just("\""), Just("\\"), Just("\\30"), Just("#"),
                Just("\n"), Just("192.168.1.1"), Just("ends"), Just("0 2026/02/31 25:00:00"), Just("epoch"),
                Just("99999999999999999999"), Just("hardware ethernet 02:00:00:00:00:01"), Just("ü"), Just(",")
            ],
            0..40,
        ),
    ) {
        drop(read(format!("lease 1.1.1.1 {{ {}", words.join(" ")).as_bytes()));
        drop(read(format!("{KEA}{}", words.concat()).as_bytes()));
    }
}
