//! The runs, on all cores, their results in the order of the rows.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sockeye_sim::flows::RunResult;

use super::Row;

/// Runs every row with each of its seeds, and hands each row over with its results as soon as all before it are done.
pub fn each(rows: &[Row], first_seed: u64, quiet: bool, mut done: impl FnMut(&Row, Vec<RunResult>)) {
    let tasks: Vec<(usize, u64)> = rows
        .iter()
        .enumerate()
        .flat_map(|(i, row)| (0..row.seeds).map(move |s| (i, first_seed + s)))
        .collect();
    let bar = progress(quiet, tasks.len());
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(tasks.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            let (send, next, tasks) = (send.clone(), &next, &tasks);
            scope.spawn(move || {
                while let Some(&(row, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = rows[row].run(seed).run();
                    if send.send((row, seed, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut results: Vec<Vec<(u64, RunResult)>> = rows.iter().map(|_| Vec::new()).collect();
        let mut due = 0;
        for (row, seed, result) in receive {
            bar.inc(1);
            results[row].push((seed, result));
            while due < rows.len() && results[due].len() as u64 == rows[due].seeds {
                let mut of_row = std::mem::take(&mut results[due]);
                of_row.sort_by_key(|(seed, _)| *seed);
                bar.suspend(|| done(&rows[due], of_row.into_iter().map(|(_, result)| result).collect()));
                due += 1;
            }
        }
    });
    bar.finish_and_clear();
}

/// Drawn on standard error, and only if that is a terminal.
pub fn progress(quiet: bool, runs: usize) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) =
        ProgressStyle::with_template("[{bar:40}] {pos} of {len} runs, {elapsed} gone, {eta} left")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
