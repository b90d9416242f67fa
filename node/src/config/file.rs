//! The file as it is written down, and where in it each value stands.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use genesis::NodeName;
use serde::Deserialize;
use toml::Spanned;

use super::{
    fault::{ConfigFault, Place},
    tenant, units,
};

/// How often the scheduler may look.
pub(super) const TICK: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// How long a client may leave its answer unread.
pub(super) const STALL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// How many requests one client may make.
const RATE: RangeInclusive<u32> = 1..=1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConfigFile {
    pub(super) data_dir: PathBuf,
    pub(super) genesis: PathBuf,
    pub(super) node: Spanned<NodeName>,
    pub(super) key_file: Spanned<PathBuf>,
    pub(super) next_key_file: Option<PathBuf>,
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) lock_memory: Option<bool>,
    pub(super) peer_listen: Option<SocketAddr>,
    pub(super) api_listen: Spanned<SocketAddr>,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) model_dir: PathBuf,
    #[serde(default = "default_tick")]
    pub(super) tick: Spanned<Interval>,
    #[serde(default)]
    pub(super) engine: Engine,
    #[serde(default)]
    pub(super) tenants: Vec<tenant::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Engine {
    pub(super) block_count: Spanned<u32>,
    pub(super) threads: Spanned<u32>,
    pub(super) place: Spanned<EnginePlace>,
    pub(super) serves: Vec<Spanned<NodeName>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tls {
    pub(super) certificate_file: PathBuf,
    pub(super) key_file: PathBuf,
}

/// Where the engine stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EnginePlace {
    Inside,
    Worker,
    Node(NodeName),
}

impl Default for Engine {
    fn default() -> Self {
        Self { block_count: absent(1024), threads: absent(1), place: absent(EnginePlace::Inside), serves: Vec::new() }
    }
}

/// What one client may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Limits {
    pub(super) key: Rate,
    pub(super) address: Rate,
    pub(super) stall: Spanned<Interval>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Rate {
    pub(super) per_s: Spanned<u32>,
    pub(super) burst: Spanned<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |rate: super::Rate| Rate { per_s: absent(rate.per_s), burst: absent(rate.burst) };
        let super::Limits { key, address, stall } = super::Limits::default();
        Self { key: rate(key), address: rate(address), stall: absent(Interval(stall)) }
    }
}

/// A length of time, which may stand inside [`Spanned`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Interval(#[serde(deserialize_with = "units::duration")] Duration);

fn default_tick() -> Spanned<Interval> {
    absent(Interval(Duration::from_millis(500)))
}

/// A default stands nowhere in the file. It is within its limits, so nobody asks where.
fn absent<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// The file's text and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn parse(&self) -> Result<ConfigFile, ConfigFault> {
        toml::from_str(self.text).map_err(|error| {
            let place = self.place_at(error.span().map_or(0, |span| span.start));
            ConfigFault::Malformed { place, reason: error.message().to_owned() }
        })
    }

    pub(super) fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.place_at(value.span().start)
    }

    fn place_at(&self, byte: usize) -> Place {
        let before = self.text.as_bytes().get(..byte).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Place { file: self.path.to_owned(), line }
    }

    /// Relative paths start at the file's folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    pub(super) fn within(
        &self,
        what: &'static str,
        value: &Spanned<u32>,
        range: RangeInclusive<u32>,
    ) -> Result<u32, ConfigFault> {
        if range.contains(value.get_ref()) {
            return Ok(*value.get_ref());
        }
        let (min, max) = (range.start().to_string(), range.end().to_string());
        Err(ConfigFault::OutOfRange { place: self.place(value), what, value: value.get_ref().to_string(), min, max })
    }

    pub(super) fn rate(&self, what: [&'static str; 2], rate: &Rate) -> Result<super::Rate, ConfigFault> {
        let [per_s, burst] = what;
        Ok(super::Rate { per_s: self.within(per_s, &rate.per_s, RATE)?, burst: self.within(burst, &rate.burst, RATE)? })
    }

    pub(super) fn interval(
        &self,
        what: &'static str,
        value: &Spanned<Interval>,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigFault> {
        let Interval(interval) = *value.get_ref();
        if range.contains(&interval) {
            return Ok(interval);
        }
        let (min, max) = (format!("{:?}", range.start()), format!("{:?}", range.end()));
        Err(ConfigFault::OutOfRange { place: self.place(value), what, value: format!("{interval:?}"), min, max })
    }
}
