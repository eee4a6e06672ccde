//! Numbers and times as people read them.

/// A number with its thousands set apart: `1,234,567`.
pub(super) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in three figures or so: `9,999`, `12.3 k`, `4.56 M`.
pub(super) fn count(number: u64) -> String {
    if number < 10_000 { exact(number) } else { scaled(number, &["k", "M", "G", "T", "P", "E"]) }
}

/// Bytes in three figures or so: `999 B`, `1.50 kB`.
pub(super) fn bytes(number: u64) -> String {
    if number < 1000 { format!("{number} B") } else { scaled(number, &["kB", "MB", "GB", "TB", "PB", "EB"]) }
}

/// Three figures, cut and not rounded: what is shown has been reached.
fn scaled(number: u64, units: &[&str]) -> String {
    let (mut scale, mut units) = (1000u64, units.iter());
    let mut unit = units.next().copied().unwrap_or_default();
    while let Some(next) = number.checked_div(scale).filter(|n| *n >= 1000).and_then(|_| units.next()) {
        (scale, unit) = (scale.saturating_mul(1000), next);
    }
    let (whole, thousandths) = (number / scale, number % scale / (scale / 1000));
    match whole {
        0..10 => format!("{whole}.{:02} {unit}", thousandths / 10),
        10..100 => format!("{whole}.{} {unit}", thousandths / 100),
        _ => format!("{whole} {unit}"),
    }
}

/// How long ago it was: `now`, `5 s ago`, `3 min ago`, `2 h ago`, `4 d ago`.
pub(super) fn ago(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", exact(seconds / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (9_999, "9,999"),
            (10_000, "10.0 k"),
            (99_999, "99.9 k"),
            (999_999, "999 k"),
            (1_000_000, "1.00 M"),
            (1_239_999_999, "1.23 G"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(count(number), expected);
        }
        for (number, expected) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1_514_000, "1.51 MB"), (u64::MAX, "18.4 EB")]
        {
            assert_eq!(bytes(number), expected);
        }
        assert_eq!(exact(1_234_567), "1,234,567");
    }

    #[test]
    fn times_are_told_from_now() {
        const NOW: u64 = 1_800_000_000_000;
        for (seconds, expected) in [
            (0, "now"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7_199, "1 h ago"),
            (86_400, "1 d ago"),
            (400 * 86_400, "400 d ago"),
        ] {
            assert_eq!(ago(NOW, NOW - seconds * 1000), expected);
        }
        assert_eq!(ago(NOW, NOW + 5000), "now", "a clock that was set back");
    }

    proptest! {
        #[test]
        fn thousands_change_no_digit(number: u64) {
            prop_assert_eq!(exact(number).replace(',', ""), number.to_string());
            prop_assert!(count(number).len() <= 7 && bytes(number).len() <= 7);
        }
    }
}
