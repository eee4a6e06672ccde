//! What stands beside a user's name: a bcrypt hash, and nothing else.

use bcrypt::{HashParts, Version};

/// Work that this program is not made for: more than a second, on most machines.
const HIGH_COST: u32 = 15;

/// Whether it is a hash that a password can be compared with. The message never holds the value.
pub(super) fn check(hash: &str) -> Result<(), String> {
    const MAKE: &str = "make one with `macwatch hash-password`";
    if hash.is_empty() {
        return Err(format!("there is no password hash; {MAKE}"));
    }
    if cost(hash).is_some() {
        return Ok(());
    }
    Err(if hash.starts_with("$2") {
        format!(
            "it is a bcrypt hash that is damaged, of {} characters and not 60; {MAKE}",
            hash.chars().count()
        )
    } else if hash.starts_with('$') || hash.starts_with('{') {
        format!("it is a hash, but none of bcrypt; {MAKE}")
    } else {
        format!("it is no bcrypt hash; passwords in clear text are not taken: {MAKE}")
    })
}

/// The hash of a password. It begins with `$2y$`, as htpasswd's do.
pub(super) fn hash(password: &[u8], cost: u32) -> Result<String, String> {
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.contains(&0) {
        return Err("the password has a NUL byte, at which some would end it".to_owned());
    }
    if password.len() > 72 {
        return Err(format!(
            "the password has {} bytes, and bcrypt looks at the first 72 only",
            password.len()
        ));
    }
    let hash = bcrypt::hash_with_result(password, cost);
    hash.map(|parts| parts.format_for_version(Version::TwoY))
        .map_err(|error| format!("cannot hash it: {error}"))
}

/// The cost of a hash, if it is one.
pub(super) fn cost(hash: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|start| hash.starts_with(start));
    let parts: HashParts = known.then(|| hash.parse().ok())??;
    (4..=31).contains(&parts.get_cost()).then(|| parts.get_cost())
}

/// What is odd about a user who can be taken.
pub(super) fn warn(name: &str, hash: &str) -> Vec<String> {
    let high = cost(hash).filter(|cost| *cost >= HIGH_COST).map(|cost| {
        format!("a cost of {cost} takes seconds of a processor for each wrong password; 10 is usual")
    });
    let colon = name
        .contains(':')
        .then(|| "clients send name:password, so nobody can log in under a name with a colon".to_owned());
    high.into_iter().chain(colon).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_told_from_what_is_none() {
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        for version in ["2a", "2b", "2x", "2y"] {
            assert_eq!(check(&hash.replace("2y", version)), Ok(()));
        }
        assert_eq!((cost(hash), warn("a", hash)), (Some(10), Vec::new()));
        assert_eq!(warn("a:b", &hash.replace("$10$", "$16$")).len(), 2);
        for (text, part) in [
            ("", "no password hash"),
            ("secret", "clear text"),
            (&hash[..59], "damaged, of 59"),
            ("$2y$99$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", "damaged"),
            ("$apr1$x$y", "none of bcrypt"),
            ("{SHA}x", "none of bcrypt"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}
