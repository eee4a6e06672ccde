//! The file's sections and keys: from the tree to typed values, with a fault for each that makes no sense.
//!
//! Values that the toolkit knows and this program cannot do are faults too, by name.

use std::collections::BTreeMap;
use std::rc::Rc;

use hyper::header::{HeaderName, HeaderValue};

use super::names::{self, ClientAuth, Group, Suite, Version};
use super::users;
use super::values::{self, shown};
use super::yaml::{Node, Value};
use crate::textfile::Faults;
use crate::web::rate::Rate;

/// A value and its line.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// All that the file says.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) tls: Tls,
    pub(super) http2: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: BTreeMap<String, String>,
    pub(super) rate: Option<Rate>,
}

/// Something that stands in the file, or in another that it names. The other wins.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) inline: Option<At<String>>,
    pub(super) file: Option<At<String>>,
}

impl Source {
    pub(super) fn is_set(&self) -> bool {
        self.inline.is_some() || self.file.is_some()
    }
}

/// The section `tls_server_config`.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// Where it begins.
    pub(super) line: usize,
    pub(super) cert: Source,
    pub(super) key: Source,
    pub(super) client_ca: Source,
    pub(super) client_auth: Option<At<ClientAuth>>,
    pub(super) allowed_sans: Option<At<Vec<String>>>,
    pub(super) min: Option<At<Version>>,
    pub(super) max: Option<At<Version>>,
    pub(super) suites: Vec<Suite>,
    pub(super) groups: Vec<Group>,
    /// As the toolkit has it, unless it says otherwise.
    pub(super) client_s_order: bool,
}

impl Tls {
    /// What switches TLS on, in the toolkit.
    pub(super) fn is_enabled(&self) -> bool {
        self.cert.is_set() || self.key.is_set() || self.client_ca.is_set() || self.client_auth.is_some()
    }
}

/// What may be configured, and the values that the toolkit allows; all of them if none is listed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// Reads the tree. Faults go to the first list, and what has one is as if it were not there; what is only odd goes to
/// the second.
pub(super) fn read(root: Option<&Rc<Node>>, faults: &mut Faults, warnings: &mut Faults) -> Fields {
    let mut fields =
        Fields { tls: Tls::default(), http2: true, headers: Vec::new(), users: BTreeMap::new(), rate: None };
    let Some(root) = root else { return fields };
    let sections = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
    each(root, "the file", Some(&sections), faults, |key, line, node, faults| match key {
        "tls_server_config" => fields.tls = tls(node, line, faults),
        "http_server_config" => (fields.http2, fields.headers) = http(node, faults),
        "basic_auth_users" => fields.users = basic_auth(node, faults, warnings),
        _ => fields.rate = rate(node, line, faults),
    });
    fields
}

/// Hands out each key of a mapping with its line and value; what is no mapping, is there twice or not known is a fault.
fn each(
    node: &Node,
    what: &str,
    known: Option<&[&str]>,
    faults: &mut Faults,
    mut take: impl FnMut(&str, usize, &Node, &mut Faults),
) {
    let pairs = match &node.value {
        _ if node.is_null() => return,
        Value::Map(pairs) => pairs,
        _ => {
            return faults
                .add(node.line, format!("{what} is {}, where a mapping belongs (key: value)", node.kind()));
        }
    };
    let mut seen = BTreeMap::new();
    for (key, value) in pairs {
        let line = key.line;
        let Value::Scalar { text: name, .. } = &key.value else {
            faults.add(line, format!("{what}: a key is {}, where text belongs", key.kind()));
            continue;
        };
        if let Some(before) = seen.insert(name.as_str(), line) {
            faults.add(line, format!("{what}: {} is there twice, first in line {before}", shown(name)));
            continue;
        }
        match known {
            _ if name == "<<" && known.is_some() => {
                faults.add(line, format!("{what}: merge keys (<<) are not known here; write the keys out"));
            }
            Some(known) if !known.contains(&name.as_str()) => {
                faults.add(line, format!("{what}: no key {}; there are {}", shown(name), known.join(", ")));
            }
            _ => take(name, line, value, faults),
        }
    }
}

fn tls(node: &Node, line: usize, faults: &mut Faults) -> Tls {
    const KEYS: [&str; 13] = [
        "cert",
        "key",
        "client_ca",
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    ];
    let mut tls = Tls { line, ..Tls::default() };
    each(node, "tls_server_config", Some(&KEYS), faults, |key, line, node, faults| {
        let done = match key {
            "cert" => source(&mut tls.cert.inline, line, node),
            "key" => source(&mut tls.key.inline, line, node),
            "client_ca" => source(&mut tls.client_ca.inline, line, node),
            "cert_file" => source(&mut tls.cert.file, line, node),
            "key_file" => source(&mut tls.key.file, line, node),
            "client_ca_file" => source(&mut tls.client_ca.file, line, node),
            "client_auth_type" => named(&mut tls.client_auth, line, node, names::client_auth),
            "min_version" => named(&mut tls.min, line, node, names::version),
            "max_version" => named(&mut tls.max, line, node, names::version),
            "client_allowed_sans" => values::texts(node).map(|list| {
                let list = list.map(|list| list.into_iter().map(|(_, san)| san).collect());
                tls.allowed_sans = list.map(|value| At { line, value });
            }),
            "cipher_suites" => {
                tls.suites = list(key, node, faults, names::suite);
                Ok(())
            }
            "curve_preferences" => {
                tls.groups = list(key, node, faults, names::group);
                Ok(())
            }
            _ => values::truth(node).map(|server_s| tls.client_s_order = server_s == Some(false)),
        };
        if let Err(what) = done {
            faults.add(line, format!("{key}: {what}"));
        }
    });
    tls
}

/// An empty text is none.
fn source(to: &mut Option<At<String>>, line: usize, node: &Node) -> Result<(), String> {
    let value = values::text(node)?;
    *to = (!value.is_empty()).then_some(At { line, value });
    Ok(())
}

fn named<T>(
    to: &mut Option<At<T>>,
    line: usize,
    node: &Node,
    look_up: impl Fn(&str) -> Result<T, String>,
) -> Result<(), String> {
    let name = values::text(node)?;
    if !name.is_empty() {
        *to = Some(At { line, value: look_up(&name)? });
    }
    Ok(())
}

fn list<T>(
    key: &str,
    node: &Node,
    faults: &mut Faults,
    look_up: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let names = match values::texts(node) {
        Ok(names) => names.unwrap_or_default(),
        Err(what) => {
            faults.add(node.line, format!("{key}: {what}"));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (line, name) in names {
        match look_up(&name) {
            Ok(one) => found.push(one),
            Err(what) => faults.add(line, format!("{key}: {what}")),
        }
    }
    found
}

fn http(node: &Node, faults: &mut Faults) -> (bool, Vec<(HeaderName, HeaderValue)>) {
    let (mut http2, mut headers) = (true, Vec::new());
    each(node, "http_server_config", Some(&["http2", "headers"]), faults, |key, line, node, faults| {
        if key == "http2" {
            match values::truth(node) {
                Ok(on) => http2 = on.unwrap_or(true),
                Err(what) => faults.add(line, format!("http2: {what}")),
            }
            return;
        }
        each(node, "headers", None, faults, |name, line, node, faults| {
            match values::text(node).and_then(|value| header(name, &value)) {
                Ok(header) => headers.push(header),
                Err(what) => faults.add(line, format!("headers: {what}")),
            }
        });
    });
    (http2, headers)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = HEADERS.iter().map(|(known, _)| *known).collect();
        return Err(format!(
            "HTTP header {} can not be configured; those that can: {}",
            shown(name),
            known.join(", ")
        ));
    };
    if !allowed.is_empty() && !allowed.contains(&value) {
        let allowed = allowed.join(", ");
        return Err(format!("invalid value for {name}: expected one of {allowed}, but got {}", shown(value)));
    }
    let bad = || format!("{name}: {} cannot be sent in a header", shown(value));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
    HeaderValue::from_str(value).map(|value| (name, value)).map_err(|_| bad())
}

fn basic_auth(node: &Node, faults: &mut Faults, warnings: &mut Faults) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    each(node, "basic_auth_users", None, faults, |name, line, node, faults| {
        match values::text(node).and_then(|hash| users::check(&hash).map(|()| hash)) {
            Ok(hash) => {
                for why in users::warn(name, &hash) {
                    warnings.add(line, format!("basic_auth_users: {}: {why}", shown(name)));
                }
                users.insert(name.to_owned(), hash);
            }
            // What it is instead is a secret.
            Err(what) => faults.add(line, format!("basic_auth_users: {}: {what}", shown(name))),
        }
    });
    users
}

fn rate(node: &Node, line: usize, faults: &mut Faults) -> Option<Rate> {
    let (mut interval, mut burst) = (None, Some(0));
    each(node, "rate_limit", Some(&["interval", "burst"]), faults, |key, line, node, faults| {
        let done = match key {
            "interval" => values::duration(node).map(|value| interval = Some(value)),
            _ => {
                let value = values::count(node);
                burst = value.as_ref().ok().copied();
                value.map(drop)
            }
        };
        if let Err(what) = done {
            faults.add(line, format!("{key}: {what}"));
        }
    });
    let interval = interval.filter(|interval| !interval.is_zero())?;
    let burst = burst?;
    if burst == 0 {
        faults.add(
            line,
            "rate_limit: with a burst of 0 every request would get 429; take at least 1".to_owned(),
        );
        return None;
    }
    Some(Rate { interval, burst })
}
