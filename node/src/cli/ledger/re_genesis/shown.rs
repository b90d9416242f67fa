//! What an operator reads of a re-genesis.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use ::genesis::OperatorId;
use ledger::re_genesis::{Dropped, ReGenesisFile};
use serde::Serialize;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

/// Each once, in order.
pub(super) fn operators<'a>(ids: impl Iterator<Item = &'a OperatorId>) -> Vec<String> {
    let distinct: std::collections::BTreeSet<_> = ids.collect();
    distinct.into_iter().map(ToString::to_string).collect()
}

/// What an operator has to see before it signs.
#[derive(Serialize)]
pub(super) struct Shown {
    re_genesis: Digest,
    consortium: Digest,
    lineage: u32,
    /// Of the last final block.
    last_height: BlockHeight,
    last: Digest,
    time: Timestamp,
    reason: String,
    lost: Vec<String>,
    dropped: Dropped,
    /// The validators that stay, with who runs them.
    stay: Vec<(NodeId, String)>,
    /// Whose signatures are in the file.
    signed: Vec<String>,
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

impl Shown {
    pub(super) fn of(file: &ReGenesisFile, written: Option<&Path>) -> Self {
        let (header, last, decided) = (file.header(), file.last(), file.decided());
        let missing = operators(file.missing().map(|signatory| &signatory.operator));
        let all = operators(file.signatories().iter().map(|signatory| &signatory.operator));
        let stay = file.signatories().iter().map(|signatory| (signatory.node, signatory.operator.to_string()));
        Self {
            re_genesis: file.digest(),
            consortium: header.consortium,
            lineage: decided.lineage,
            last_height: last.height,
            last: last.digest(),
            time: header.time,
            reason: decided.reason.clone(),
            lost: decided.lost.iter().map(ToString::to_string).collect(),
            dropped: decided.dropped,
            stay: stay.collect(),
            signed: all.into_iter().filter(|operator| !missing.contains(operator)).collect(),
            missing,
            file: written.map(Path::to_owned),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { highest, entries } = self.dropped;
        let none_if_empty = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        let stay: Vec<_> = self.stay.iter().map(|(node, operator)| format!("node {node} of {operator}")).collect();
        writeln!(f, "re-genesis   {}", self.re_genesis)?;
        writeln!(f, "consortium   {}, lineage {}", self.consortium, self.lineage)?;
        writeln!(f, "goes on from height {}, block {}", self.last_height, self.last)?;
        writeln!(f, "time         {} ({} ms)", Utc(self.time), self.time)?;
        writeln!(f, "reason       {:?}", self.reason)?;
        writeln!(f, "lost         {}", none_if_empty(&self.lost))?;
        writeln!(f, "dropped      {entries} entries, in blocks up to height {highest}, as far as was seen")?;
        writeln!(f, "stay         {}", stay.join(", "))?;
        writeln!(f, "signed       {}", none_if_empty(&self.signed))?;
        write!(f, "missing      {}", none_if_empty(&self.missing))?;
        match &self.file {
            Some(file) => write!(f, "\nwritten to {}", file.display()),
            None => Ok(()),
        }
    }
}

/// A time as a date that people compare with their own clock, in UTC.
struct Utc(Timestamp);

impl fmt::Display for Utc {
    /// Howard Hinnant's `civil_from_days`, of a year that begins in March.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.get() / 1_000;
        let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", year + 400 * era)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_the_date_that_it_is() {
        let shown = |seconds: u64| Utc(Timestamp::new(seconds * 1_000 + 999)).to_string();
        assert_eq!(shown(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(shown(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(shown(1_704_067_199), "2023-12-31 23:59:59 UTC");
        assert_eq!(shown(4_070_908_800), "2099-01-01 00:00:00 UTC");
        assert!(!Utc(Timestamp::new(u64::MAX)).to_string().is_empty());
    }
}
