//! The bodies that `vmwire.x` declares, read out of its text: what each field is, its bound, and whether it is secret.
//! Constants are [`crate::authority`]'s. The file is ours and `rpcgen` has accepted it, so what is not understood here panics.

use std::collections::BTreeMap;

use crate::authority::{AUTHORITY, constants};

/// What a field holds, typedefs resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Uint,
    Hyper,
    Bool,
    /// At most so many bytes of UTF-8.
    String(u32),
    /// At most so many bytes.
    Opaque(u32),
    /// Exactly so many bytes.
    Fixed(u32),
    /// Sixteen bytes that have a written form.
    Uuid,
    /// Another body, by name.
    Body(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Once,
    Optional,
    /// At most so many.
    List(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) repeat: Repeat,
    pub(crate) secret: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Struct(Vec<Field>),
    /// Arms by number; a void one has no field.
    Union(Vec<(u32, Option<Field>)>),
}

#[derive(Debug)]
pub(crate) struct Definition {
    /// In the order of the file.
    pub(crate) bodies: Vec<(String, Body)>,
}

impl Definition {
    pub(crate) fn read() -> Self {
        let mut reader = Reader { typedefs: BTreeMap::new(), bodies: Vec::new(), open: None };
        AUTHORITY.lines().for_each(|line| reader.line(line));
        Self { bodies: reader.bodies }
    }

    pub(crate) fn body(&self, name: &str) -> &Body {
        &self.bodies.iter().find(|(of, _)| of == name).unwrap_or_else(|| panic!("no body {name}")).1
    }
}

/// One of the two ways in which a number is written: a constant's name, or itself.
pub(crate) fn number(text: &str) -> u32 {
    text.strip_prefix("VMWIRE_").map_or_else(|| text.parse().unwrap(), |name| constants()[name])
}

struct Reader {
    typedefs: BTreeMap<String, Kind>,
    bodies: Vec<(String, Body)>,
    /// The body whose lines are being read, and of a union the arm.
    open: Option<(String, Body, u32)>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let (code, comment) = line.split_once("/*").unwrap_or((line, ""));
        let (code, secret) = (code.trim(), comment.trim() == "secret */");
        if let Some(declaration) = code.strip_prefix("typedef ") {
            let field = self.field(declaration.trim_end_matches(';'), false);
            let kind = if field.name == "uuid" { Kind::Uuid } else { field.kind };
            self.typedefs.insert(field.name, kind);
        } else if let Some(name) = code.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
            self.open = Some((name.to_owned(), Body::Struct(Vec::new()), 0));
        } else if let Some(rest) = code.strip_prefix("union ") {
            let name = rest.split(' ').next().unwrap();
            self.open = Some((name.to_owned(), Body::Union(Vec::new()), 0));
        } else if code == "};" {
            let (name, body, _) = self.open.take().unwrap();
            self.bodies.push((name, body));
        } else if let Some((name, body, arm)) = self.open.take() {
            self.open = Some(self.inside(name, body, arm, code, secret));
        }
    }

    fn inside(&self, name: String, mut body: Body, mut arm: u32, code: &str, secret: bool) -> (String, Body, u32) {
        match &mut body {
            Body::Struct(fields) if !code.is_empty() => {
                fields.push(self.field(code.strip_suffix(';').expect("a declaration"), secret));
            }
            Body::Union(arms) => match code.strip_prefix("case ") {
                Some(number_of) => arm = number(number_of.trim_end_matches(':')),
                // What follows is void, and no arm: numbers that are not known.
                None if code == "default:" => arm = u32::MAX,
                None if arm == u32::MAX => {}
                None if code == "void;" => arms.push((arm, None)),
                None => arms.push((arm, Some(self.field(code.trim_end_matches(';'), secret)))),
            },
            Body::Struct(_) => {}
        }
        (name, body, arm)
    }

    fn field(&self, declaration: &str, secret: bool) -> Field {
        let (kind, name) = declaration.rsplit_once(' ').expect("a type and a name");
        let (name, optional) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
        let (name, bound) = match name.split_once(['<', '[']) {
            Some((name, bound)) => (name, Some(number(bound.trim_end_matches(['>', ']'])))),
            None => (name, None),
        };
        let (kind, bound) = match (kind, bound) {
            ("string", Some(bound)) => (Kind::String(bound), None),
            ("opaque", Some(bound)) if declaration.ends_with(']') => (Kind::Fixed(bound), None),
            ("opaque", Some(bound)) => (Kind::Opaque(bound), None),
            ("unsigned int", bound) => (Kind::Uint, bound),
            ("unsigned hyper", bound) => (Kind::Hyper, bound),
            ("bool", bound) => (Kind::Bool, bound),
            (other, bound) => {
                (self.typedefs.get(other).cloned().unwrap_or_else(|| Kind::Body(other.to_owned())), bound)
            }
        };
        let repeat = match bound {
            Some(bound) => Repeat::List(bound),
            None if optional => Repeat::Optional,
            None => Repeat::Once,
        };
        Field { name: name.to_owned(), kind, repeat, secret }
    }
}
