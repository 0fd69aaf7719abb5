//! `docker.stats`: what containers use, in one table for all servers.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use bollard::{
    models::{ContainerMemoryStats, ContainerStatsResponse},
    query_parameters::StatsOptionsBuilder,
};
use futures_util::{
    Stream as Chunks, StreamExt, TryStreamExt,
    future::{join_all, ready},
    stream,
};
use tokio::time::{Instant, sleep_until};

use super::{Engine, Error, Listed, api_error::is_missing};
use crate::core::{
    event::{Event, Events},
    table::Table,
    units::human_bytes,
};

/// How often a table on a terminal is refreshed. Engines measure once a second.
const REFRESH: Duration = Duration::from_secs(1);

const COLUMNS: [&str; 8] = [
    "host",
    "container",
    "cpu",
    "memory",
    "limit",
    "received",
    "sent",
    "read / written",
];

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// The host.
    pub host: String,
    /// The container's name.
    pub container: String,
    /// The share of one processor, in percent.
    pub cpu: f64,
    /// The memory in bytes, without the cache of files.
    pub memory: u64,
    /// The limit of its memory in bytes.
    pub limit: u64,
    /// The bytes that it received and sent.
    pub network: (u64, u64),
    /// The bytes that it read from and wrote to disks.
    pub disk: (u64, u64),
}

impl Stats {
    fn new(host: &str, container: &str, measured: &ContainerStatsResponse) -> Self {
        let memory = measured.memory_stats.as_ref();
        let networks = measured.networks.iter().flatten().map(|(_, network)| {
            let count = |bytes: Option<u64>| bytes.unwrap_or_default();
            (count(network.rx_bytes), count(network.tx_bytes))
        });
        let disk = measured.blkio_stats.as_ref();
        let disk = disk.and_then(|disk| disk.io_service_bytes_recursive.as_deref());
        let transferred = |wanted: &str| {
            let entries = disk.unwrap_or_default().iter();
            entries
                .filter(|entry| {
                    let name = entry.op.as_deref().unwrap_or_default();
                    name.eq_ignore_ascii_case(wanted)
                })
                .filter_map(|entry| entry.value)
                .sum()
        };
        Stats {
            host: host.to_owned(),
            container: container.to_owned(),
            cpu: cpu(measured),
            memory: memory.map_or(0, used),
            limit: memory.and_then(|memory| memory.limit).unwrap_or_default(),
            network: networks.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
            disk: (transferred("read"), transferred("write")),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.host.clone(),
            self.container.clone(),
            format!("{:.1} %", self.cpu),
            human_bytes(self.memory),
            human_bytes(self.limit),
            human_bytes(self.network.0),
            human_bytes(self.network.1),
            format!(
                "{} / {}",
                human_bytes(self.disk.0),
                human_bytes(self.disk.1)
            ),
        ]
    }
}

/// The share of one processor between two measurements, in percent, as the docker command computes
/// it.
fn cpu(measured: &ContainerStatsResponse) -> f64 {
    let (Some(now), Some(before)) = (&measured.cpu_stats, &measured.precpu_stats) else {
        return 0.0;
    };
    let own = |stats: &bollard::models::ContainerCpuStats| {
        stats.cpu_usage.as_ref().and_then(|usage| usage.total_usage)
    };
    let grown = |now: Option<u64>, before: Option<u64>| {
        now.unwrap_or_default()
            .saturating_sub(before.unwrap_or_default())
    };
    let all = grown(now.system_cpu_usage, before.system_cpu_usage);
    if all == 0 || before.system_cpu_usage.is_none() {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let share = grown(own(now), own(before)) as f64 / all as f64;
    share * f64::from(now.online_cpus.unwrap_or(1)) * 100.0
}

/// The memory without the inactive part of the cache, which the kernel takes back first.
fn used(memory: &ContainerMemoryStats) -> u64 {
    let stats = memory.stats.as_ref();
    // Control groups of version 2, and of version 1.
    let cache = ["inactive_file", "total_inactive_file"];
    let cache = cache.iter().find_map(|name| stats?.get(*name));
    let usage = memory.usage.unwrap_or_default();
    usage.saturating_sub(cache.copied().unwrap_or_default())
}

impl Engine {
    /// Measures all running containers for a second, at the same time.
    pub async fn stats(&self) -> Result<Vec<Stats>, Error> {
        let listed = self.list(false).await?;
        let mut all: Vec<Stats> = stream::iter(listed)
            .map(|listed| async move {
                let options = StatsOptionsBuilder::new().stream(false).build();
                let mut measured = Box::pin(self.docker.stats(&listed.id, Some(options)));
                match measured.next().await {
                    Some(Ok(measured)) => Ok(Some(Stats::new(&self.host, &listed.name, &measured))),
                    Some(Err(error)) if !is_missing(&error) => {
                        self.remember_name(&listed.id, &listed.name);
                        Err(self.of(&listed.id, "measuring", &error))
                    }
                    // It was removed meanwhile.
                    _ => Ok(None),
                }
            })
            .buffer_unordered(self.max_concurrent_streams())
            .try_filter_map(|stats| ready(Ok(stats)))
            .try_collect()
            .await?;
        all.sort_by(|a, b| a.container.cmp(&b.container));
        Ok(all)
    }

    /// The measurements of a container, one a second, until it ends.
    fn measure(&self, listed: Listed) -> Measured {
        let options = StatsOptionsBuilder::new().stream(true).build();
        let measured = self.docker.stats(&listed.id, Some(options));
        let engine = self.clone();
        self.remember_name(&listed.id, &listed.name);
        let stats = measured.map(move |measured| match measured {
            Ok(measured) => Ok(Stats::new(&engine.host, &listed.name, &measured)),
            Err(error) => Err(engine.of(&listed.id, "measuring", &error)),
        });
        stats.boxed()
    }
}

type Measured = Pin<Box<dyn Chunks<Item = Result<Stats, Error>> + Send>>;

fn table<'a>(stats: impl IntoIterator<Item = &'a Stats>) -> Table {
    Table {
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows: stats.into_iter().map(Stats::row).collect(),
        ..Table::default()
    }
}

/// Shows what the running containers of several servers use. Returns the errors of those that could
/// not be asked.
pub async fn show_stats(engines: &[Engine], events: &Events) -> Vec<Error> {
    let measured = join_all(engines.iter().map(Engine::stats)).await;
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for stats in measured {
        match stats {
            Ok(stats) => all.extend(stats),
            Err(error) => errors.push(error),
        }
    }
    events.emit(Event::Table(table(&all)));
    errors
}

/// Shows what the containers that run now use, and refreshes the table every second until they have
/// ended. Returns the errors of servers that failed.
pub async fn watch_stats(engines: &[Engine], events: &Events) -> Vec<Error> {
    let lists = join_all(engines.iter().map(|engine| engine.list(false))).await;
    let (mut errors, mut streams) = (Vec::new(), Vec::new());
    for (engine, listed) in engines.iter().zip(lists) {
        match listed.and_then(|listed| engine.check_streams(listed.len()).map(|()| listed)) {
            Ok(listed) => streams.extend(listed.into_iter().map(|listed| engine.measure(listed))),
            Err(error) => errors.push(error),
        }
    }
    let streams = streams.into_iter().enumerate().map(|(at, stream)| {
        let stats = stream.map(move |stats| (at, Some(stats)));
        stats.chain(stream::once(ready((at, None)))).boxed()
    });
    let mut streams = stream::select_all(streams);
    let mut all: BTreeMap<usize, Stats> = BTreeMap::new();
    let mut next = Instant::now() + REFRESH;
    loop {
        tokio::select! {
            stats = streams.next() => match stats {
                None => return errors,
                Some((at, Some(Ok(stats)))) => drop(all.insert(at, stats)),
                Some((at, None)) => drop(all.remove(&at)),
                Some((at, Some(Err(error)))) => {
                    all.remove(&at);
                    if !errors.iter().any(|known| known.host() == error.host()) {
                        errors.push(error);
                    }
                }
            },
            () = sleep_until(next) => {
                events.emit(Event::Refresh(table(all.values())));
                next += REFRESH;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_docker_command() {
        let measured = json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 5000, "limit": 10000, "stats": {"inactive_file": 1000}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 7}, {"op": "write", "value": 8}, {"op": "read", "value": 1}
            ]}
        });
        let measured = serde_json::from_value(measured).unwrap();
        let expected = Stats {
            host: "h".to_owned(),
            container: "c".to_owned(),
            cpu: 40.0,
            memory: 4000,
            limit: 10000,
            network: (11, 22),
            disk: (8, 8),
        };
        assert_eq!(Stats::new("h", "c", &measured), expected);
        let nothing = Stats {
            host: "h".to_owned(),
            container: "c".to_owned(),
            ..Stats::default()
        };
        let first = ContainerStatsResponse::default();
        assert_eq!(Stats::new("h", "c", &first), nothing);
    }
}
