//! Clients of other stores that append on condition, as bench/load does with ours: each waits for its answer, then
//! asks again, and all share one thread.
//!
//!     peers umadb|disintegrate ADDRESS CLIENTS SECONDS WARMUP unique|race PREFIX
//!
//! `unique`: each append has a tag of its own, PREFIX and numbers, on condition that nothing has that tag.  `race`:
//! all have the tag PREFIX; each client reads what has come with it, then appends on condition that nothing has
//! come since.  The last line is JSON: appends a second, how many were refused, and the latencies of those that
//! succeeded, in ms.
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{spawn_local, LocalSet};

mod disintegrate_store;
mod umadb_store;

type Failure = Box<dyn std::error::Error>;

/// What is asked of a store.  A position of 0 is before all messages.
trait Store: 'static {
    /// Appends a message with a tag, on condition that none with it came after a position; whether it did.
    fn append(&self, tag: &str, after: u64) -> impl Future<Output = Result<bool, Failure>>;

    /// Reads what came with a tag after a position; returns up to where that is complete.
    fn read(&self, tag: &str, after: u64) -> impl Future<Output = Result<u64, Failure>>;
}

struct Run {
    race: bool,
    prefix: String,
    counts_from: Instant,
    end: Instant,
    counted: RefCell<Counted>,
}

#[derive(Default)]
struct Counted {
    latencies: Vec<u32>, // microseconds
    refused: u64,
}

/// 300 bytes.
fn text() -> String {
    "lorem ipsum dolor sit amet, ".repeat(11)[..300].to_string()
}

async fn client<S: Store>(store: S, number: usize, run: Rc<Run>) -> Result<(), Failure> {
    let (mut after, mut attempts) = (0, 0u64);
    while Instant::now() < run.end {
        let tag = if run.race { run.prefix.clone() } else { format!("{}-{number}-{attempts}", run.prefix) };
        if run.race {
            after = store.read(&tag, after).await?;
        }
        attempts += 1;
        let began = Instant::now();
        let accepted = store.append(&tag, after).await?;
        if began < run.counts_from {
            continue;
        }
        let mut counted = run.counted.borrow_mut();
        if accepted {
            counted.latencies.push(began.elapsed().as_micros() as u32);
        } else {
            counted.refused += 1;
        }
    }
    Ok(())
}

fn report(run: &Run, seconds: f64) {
    let mut counted = run.counted.borrow_mut();
    counted.latencies.sort_unstable();
    let quantile = |part: usize| match counted.latencies.len() {
        0 => 0.0,
        count => f64::from(counted.latencies[count * part / 100]) / 1000.0,
    };
    println!(
        "{{\"throughput\":{:.1},\"total_ops\":{},\"refused\":{},\"p50\":{:.3},\"p99\":{:.3}}}",
        counted.latencies.len() as f64 / seconds, counted.latencies.len(), counted.refused, quantile(50), quantile(99)
    );
}

async fn measure(arguments: &[String]) -> Result<(), Failure> {
    let [store, address, clients, seconds, warmup, mode, prefix] = arguments else {
        return Err("usage: peers umadb|disintegrate ADDRESS CLIENTS SECONDS WARMUP unique|race PREFIX".into());
    };
    let (clients, seconds): (usize, f64) = (clients.parse()?, seconds.parse()?);
    let umadb = umadb_store::connect(store == "umadb", address, clients).await?;
    let disintegrate = disintegrate_store::connect(store == "disintegrate", address, clients).await?;
    let counts_from = Instant::now() + Duration::from_secs_f64(warmup.parse()?);
    let run = Rc::new(Run {
        race: mode == "race",
        prefix: prefix.clone(),
        counts_from,
        end: counts_from + Duration::from_secs_f64(seconds),
        counted: RefCell::default(),
    });
    let mut tasks = Vec::new();
    for (number, store) in umadb.into_iter().enumerate() {
        tasks.push(spawn_local(client(store, number, run.clone())));
    }
    for (number, store) in disintegrate.into_iter().enumerate() {
        tasks.push(spawn_local(client(store, number, run.clone())));
    }
    if tasks.is_empty() {
        return Err(format!("no store is called {store}").into());
    }
    for task in tasks {
        task.await??;
    }
    report(&run, seconds);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, measure(&arguments))
}
