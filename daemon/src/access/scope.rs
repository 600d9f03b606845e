//! Which virtual machines a rule is about.

use vmwire_protocol::message::Pattern;

/// Some virtual machines: those whose name matches a pattern, if patterns are given, and that have a label, if labels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    names: Vec<Pattern>,
    labels: Vec<String>,
}

impl Scope {
    /// With neither, everything is meant, and that is no scope.
    pub fn new(names: Vec<Pattern>, labels: Vec<String>) -> Option<Self> {
        (!names.is_empty() || !labels.is_empty()).then_some(Self { names, labels })
    }

    /// Whether a virtual machine is among them.
    pub fn holds(&self, name: &str, labels: &[String]) -> bool {
        (self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name)))
            && (self.labels.is_empty() || labels.iter().any(|label| self.labels.contains(label)))
    }
}
