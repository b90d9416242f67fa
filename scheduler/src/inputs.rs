//! The inputs of a decision: integers by name, with the unit in the name.
//!
//! Rules read typed facts. A decision stores them as a sorted map, so that a record made under an older table of rules
//! still decodes, and people can read it. The macro `facts` declares a set of facts once and derives both directions.

use std::collections::BTreeMap;

/// Integers by name, such as `batch.idle_us`. An absent fact has no entry; a truth value is 0 or 1.
pub type Inputs = BTreeMap<String, i64>;

/// An input that a rule needs is missing, out of range, or belongs to no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decision input {name:?} is {problem}")]
pub struct InputInvalid {
    /// Name of the input.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A set of facts that can be written into a map and read back.
pub(crate) trait Facts: Sized {
    fn write(&self, scope: &str, inputs: &mut Inputs);
    fn read(scope: &str, inputs: &Inputs) -> Result<Self, InputInvalid>;
}

/// One value of a fact.
pub(crate) trait Fact: Sized {
    fn to_input(&self) -> Option<i64>;
    fn from_input(input: Option<i64>) -> Result<Self, &'static str>;
}

impl Fact for bool {
    fn to_input(&self) -> Option<i64> {
        Some(i64::from(*self))
    }
    fn from_input(input: Option<i64>) -> Result<Self, &'static str> {
        match input.ok_or("missing")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("out of range"),
        }
    }
}

macro_rules! integer_fact {
    ($($type:ty),*) => {$(
        impl Fact for $type {
            fn to_input(&self) -> Option<i64> {
                Some(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn from_input(input: Option<i64>) -> Result<Self, &'static str> {
                Self::try_from(input.ok_or("missing")?).map_err(|_| "out of range")
            }
        }
    )*};
}
integer_fact!(u32, u64);

impl<T: Fact> Fact for Option<T> {
    fn to_input(&self) -> Option<i64> {
        self.as_ref().and_then(T::to_input)
    }
    fn from_input(input: Option<i64>) -> Result<Self, &'static str> {
        input.map(|value| T::from_input(Some(value))).transpose()
    }
}

/// Declares a struct of facts with [`Facts`] for it. Field names end in their unit and become input names.
macro_rules! facts {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::inputs::Facts for $name {
            fn write(&self, scope: &str, inputs: &mut $crate::inputs::Inputs) {
                $(if let Some(value) = $crate::inputs::Fact::to_input(&self.$field) {
                    inputs.insert(format!("{scope}.{}", stringify!($field)), value);
                })*
            }

            fn read(
                scope: &str,
                inputs: &$crate::inputs::Inputs,
            ) -> Result<Self, $crate::inputs::InputInvalid> {
                Ok(Self {
                    $($field: {
                        let name = format!("{scope}.{}", stringify!($field));
                        $crate::inputs::Fact::from_input(inputs.get(&name).copied())
                            .map_err(|problem| $crate::inputs::InputInvalid { name, problem })?
                    },)*
                })
            }
        }
    };
}
pub(crate) use facts;
