//! YAML as a tree in which everything has its line.
//!
//! An alias is the node that it stands for, not a copy: a few lines of aliases of aliases take no more memory than
//! they are long. Whoever copies what they stand for limits how often. Nothing here is recursive, and neither depth nor
//! number of nodes is left to the file.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

/// Deepest nesting; the format has three levels.
const DEEPEST: usize = 16;
/// Most nodes: a file of 10,000 users has 20,000.
const MOST_NODES: usize = 200_000;

/// Most characters of what the parser has to say.
const MOST_INFO: usize = 120;

/// A node, and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    /// One that is not quoted may be something else than text.
    Scalar { text: String, quoted: bool },
    /// Values.
    List(Vec<Rc<Node>>),
    /// Keys and values, in their order; the same key may be there twice.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// Whether nothing is said.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// What is wrong, and in which line.
pub(super) type Refusal = (usize, String);

/// A list or mapping that has begun.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    items: Vec<Rc<Node>>,
}

/// The one document of a text; none if the text says nothing.
pub(super) fn read(text: &str) -> Result<Option<Rc<Node>>, Refusal> {
    // For YAML a carriage return alone ends a line too; for editors and messages it does not.
    let last = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
    let mut builder = Builder::default();
    let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
    let mut line = 1;
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            let info: String = error.info().chars().take(MOST_INFO).collect();
            // Nothing that a terminal obeys; its quotes may stay.
            let info = info.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
            (error.marker().line().clamp(1, last), format!("it is not YAML: {info}"))
        })?;
        line = span.start.line().clamp(line, last);
        builder.take(event, line).map_err(|what| (line, what))?;
    }
    Ok(builder.root)
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || is_text(tag.as_deref(), "str")?;
                let value = Value::Scalar { text: text.into_owned(), quoted };
                self.add(Rc::new(Node { line, value }), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                is_text(tag.as_deref(), "seq")?;
                self.begin(line, anchor, false)
            }
            Event::MappingStart(anchor, tag) => {
                is_text(tag.as_deref(), "map")?;
                self.begin(line, anchor, true)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let value = if open.is_map { pairs(open.items) } else { Value::List(open.items) };
                    self.add(Rc::new(Node { line: open.line, value }), open.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.add(node, 0)
                }
                None => Err("an alias stands within what it stands for".to_owned()),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err("a second document begins; there may be one".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep"));
        }
        self.open.push(Open { line, anchor, is_map, items: Vec::new() });
        Ok(())
    }

    /// A node is whole.
    fn add(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(format!("it has more than {MOST_NODES} values; is it the right file?"));
        }
        // 0 is none.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn pairs(items: Vec<Rc<Node>>) -> Value {
    let mut items = items.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    Value::Map(pairs)
}

/// Whether there is this tag of YAML's own. Others say that a value is something that it does not look like.
fn is_text(tag: Option<&Tag>, own: &str) -> Result<bool, String> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == own => Ok(true),
        Some(tag) => Err(format!("the tag {} is not known here", tag.to_string().escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as text, with lines.
    fn show(node: &Node) -> String {
        let inner = match &node.value {
            Value::Scalar { text, quoted: true } => format!("{text:?}"),
            Value::Scalar { text, quoted: false } => text.clone(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|one| show(one)).collect::<Vec<_>>().join(" "))
            }
            Value::Map(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|(key, value)| format!("{}={}", show(key), show(value))).collect();
                format!("{{{}}}", pairs.join(" "))
            }
        };
        format!("{}@{inner}", node.line)
    }

    #[test]
    fn a_tree_knows_its_lines() {
        for (text, expected) in [
            ("", None),
            ("# nothing\n\n", None),
            ("---\n", Some("2@")),
            ("a: b\nc:\n  - 1\n  - '2'\n", Some("1@{1@a=1@b 2@c=3@[3@1 4@\"2\"]}")),
            ("a: &x {b: c}\nd: *x\n", Some("1@{1@a=1@{1@b=1@c} 2@d=1@{1@b=1@c}}")),
            ("a: !!str 1\n", Some("1@{1@a=1@\"1\"}")),
            ("a: >-\n  x\n  y\n", Some("1@{1@a=2@\"x y\"}")),
        ] {
            assert_eq!(read(text).unwrap().map(|node| show(&node)).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_tree_is_refused_with_its_line() {
        let deep = "[".repeat(20);
        for (text, line, part) in [
            ("a: b\n\tc: d\n", 2, "it is not YAML"),
            ("a: [1, 2\n", 2, "it is not YAML"),
            ("a: *b\n", 1, "it is not YAML"),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("a:\n  &x [*x]\n", 2, "within what it stands for"),
            ("a: !!binary aGk=\n", 1, "tag"),
            (&deep, 1, "nested more than 16 deep"),
        ] {
            let (at, what) = read(text).unwrap_err();
            // The parser tells where it was lost, which may be before or after the fault.
            let near = if part == "it is not YAML" { at.abs_diff(line) <= 1 } else { at == line };
            assert!(near && what.contains(part), "{text}: {at}: {what}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_takes_no_more_than_its_text() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..200 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            text += &format!("a{n}: &a{n} [{aliases}]\n");
        }
        let node = read(&text).unwrap().unwrap();
        assert!(matches!(&node.value, Value::Map(pairs) if pairs.len() == 200));
    }
}
