//! Arguments with several named parts: `id=eu-1,key=eu-1.key`.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// The parts of one argument. Each is taken once, and none may be left over.
pub(super) struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
            if fields.insert(name, value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or_else(|| format!("{name}= is missing"))
    }

    pub(super) fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.remove(name).map(str::parse).transpose();
        value.map_err(|error: T::Err| format!("{name}: {error}"))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("there is no {name}= here")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<u16>), String> {
        let mut fields = Fields::parse(text)?;
        let read = (fields.required("id")?, fields.optional("port")?);
        fields.finish().map(|()| read)
    }

    #[test]
    fn parts_come_in_any_order_and_some_may_be_missing() {
        assert_eq!(read("port=7,id=a=b"), Ok(("a=b".to_owned(), Some(7))));
        assert_eq!(read("id=a"), Ok(("a".to_owned(), None)));
    }

    #[test]
    fn what_is_missing_repeated_unknown_or_malformed_is_named() {
        assert_eq!(read("port=7"), Err("id= is missing".to_owned()));
        assert_eq!(read("id=a,id=b"), Err("id is given twice".to_owned()));
        assert_eq!(read("id=a,host=b"), Err("there is no host= here".to_owned()));
        assert_eq!(read("id=a,port=x"), Err("port: invalid digit found in string".to_owned()));
        assert_eq!(read("eu-1"), Err("\"eu-1\" is not NAME=VALUE".to_owned()));
    }
}
