//! What the demo saw: said aloud as it happens, and kept for one flat JSON object.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

/// The figures so far.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, Value>);

impl Figures {
    /// Begins a step.
    pub fn step(&self, title: &str) {
        self.say(&format!("\n== {title}"));
    }

    /// Says a line to the person who watches; standard output is for the figures.
    pub fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Keeps a figure and says it.
    pub fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        self.say(&format!("   {key} = {value}"));
        self.0.insert(key.to_owned(), value);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every step held")?;
        self.0.iter().try_for_each(|(key, value)| write!(f, "\n   {key} = {value}"))
    }
}

/// The middle of some measurements; of an even number the lower middle. None of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}
