//! What is said at the end: what came of it, what to doubt, what to do next.

use std::path::Path;

use super::draft::Draft;
use super::evidence::Evidence;
use super::listen::Heard;
use crate::sources::MOST_RESERVED;

/// As many new addresses in the last tenth of the time, and a tenth of all, say that more are to come.
const STILL_COMING: usize = 10;

/// What a person should know before vouching for all of it.
pub(super) fn warnings(evidence: &Evidence, heard: Option<&Heard>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(heard) = heard {
        let (recent, window) = heard.recent;
        if recent >= STILL_COMING && recent * 10 >= evidence.len() {
            warnings.push(format!(
                "{recent} of {} addresses came in the last {}: listen for longer, or look whether somebody forges them",
                evidence.len(),
                humantime::format_duration(std::time::Duration::from_secs(window.as_secs().max(1)))
            ));
        }
        if heard.untracked > 0 {
            let frames = if heard.untracked == 1 { "frame is" } else { "frames are" };
            warnings.push(format!(
                "there was no room for all: {} {frames} of addresses that are not here; see --sources.max, and \
                 whether somebody forges addresses",
                heard.untracked
            ));
        }
        if heard.dropped > 0 {
            warnings.push(match heard.dropped {
                1 => "the kernel dropped 1 frame unread; who sent it is not known".to_owned(),
                n => format!("the kernel dropped {n} frames unread; who sent them is not known"),
            });
        }
    }
    if heard.is_some_and(|heard| heard.stuck) {
        warnings.push(
            "a capture thread is stuck, or had no turn on a busy machine: what it had not counted is not here"
                .to_owned(),
        );
    }
    if evidence.beyond > 0 {
        warnings
            .push("there are more addresses than can be learnt at a time; the rest is left out".to_owned());
    }
    warnings
}

/// The lines at the end.
pub(super) fn summary(
    evidence: &Evidence,
    draft: &Draft,
    output: Option<&Path>,
    listened: bool,
) -> Vec<String> {
    let Draft { new, listed, own, anomalies, .. } = draft;
    let plural = if evidence.len() == 1 { "address" } else { "addresses" };
    let mut line = format!("{} {plural}: {} new, {listed} already listed", evidence.len(), new.len());
    for (count, what) in [
        (*own, "of this machine left out"),
        (*anomalies, "left out that no device may send from"),
        (evidence.expired, "left out whose lease is over"),
        (
            evidence.without_mac,
            if evidence.without_mac == 1 {
                "lease without a MAC left out"
            } else {
                "leases without a MAC left out"
            },
        ),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let mut lines = vec![line];
    if new.len() > MOST_RESERVED {
        lines.push(format!(
            "macwatch: warning: at most {MOST_RESERVED} listed addresses have reserved room in the exporter"
        ));
    }
    let next = match (new.len(), output) {
        (0, _) if evidence.len() == 0 && listened => {
            "nobody spoke; `macwatch interfaces` says which interfaces are heard".to_owned()
        }
        (0, _) => "there is nothing to add".to_owned(),
        (_, None) => "next: keep it in a file, give the names, take out whom you do not know; then \
                      `macwatch check --inventory.file FILE` and `macwatch --inventory.file FILE`"
            .to_owned(),
        (_, Some(path)) => {
            let path = path.display();
            format!(
                "next: edit {path}, give the names, take out whom you do not know; then `macwatch check \
                 --inventory.file {path}` and `macwatch --inventory.file {path}`"
            )
        }
    };
    lines.push(next);
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mac::Mac;
    use crate::state::Seen;

    fn heard(addresses: u64, recent: usize) -> Heard {
        let mut evidence = Evidence::default();
        for n in 1..=addresses {
            let seen = Seen { first_unix_ms: n, last_unix_ms: n };
            evidence.heard(&"eth0".into(), Mac::from_number(n), seen, Some(1));
        }
        Heard {
            evidence,
            listened: Duration::from_secs(600),
            interfaces: vec!["eth0".to_owned()],
            untracked: 0,
            dropped: 0,
            recent: (recent, Duration::from_secs(60)),
            stuck: false,
        }
    }

    #[test]
    fn addresses_that_still_come_at_the_end_are_told() {
        let warned = |addresses, recent| {
            let heard = heard(addresses, recent);
            !warnings(&heard.evidence, Some(&heard)).is_empty()
        };
        assert!(warned(16_384, 1700) && warned(100, 10) && warned(12, 12));
        // A tenth of the time brings less than a tenth of them once most have spoken; and few are no flood.
        assert!(!warned(16_384, 1000) && !warned(101, 10) && !warned(9, 9));
        let heard = heard(100, 10);
        assert_eq!(
            warnings(&heard.evidence, Some(&heard)),
            [
                "10 of 100 addresses came in the last 1m: listen for longer, or look whether somebody forges them"
            ]
        );
    }

    #[test]
    fn frames_that_nobody_can_name_are_told() {
        let heard = Heard { untracked: 3, dropped: 4, ..heard(1, 0) };
        let told = warnings(&heard.evidence, Some(&heard));
        assert!(told[0].contains("3 frames") && told[1].contains("dropped 4 frames"), "{told:?}");
        assert!(told.iter().all(|line| !line.contains('\n')));
        let told = warnings(&heard.evidence, Some(&Heard { untracked: 1, dropped: 1, ..self::heard(1, 0) }));
        assert!(told[0].contains(" 1 frame is of") && told[1].contains("dropped 1 frame unread"), "{told:?}");
    }
}
