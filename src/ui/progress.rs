//! Running activities: one spinner each on a terminal, lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The interval between two frames of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// The running activities.
pub struct Progress {
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<u64, Activity>>,
}

struct Activity {
    thing: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Creates the display: spinners if `animated`, else a line for each step.
    pub fn new(animated: bool) -> Self {
        let draw = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Progress {
            bars: animated.then(draw),
            running: Mutex::default(),
        }
    }

    /// Shows a new activity about `thing`.
    pub fn start(&self, id: u64, thing: &str, what: &str) {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg} {elapsed}");
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_prefix(thing.to_owned());
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(TICK);
            bar
        });
        if bar.is_none() {
            line(thing, what);
        }
        let activity = Activity {
            thing: thing.to_owned(),
            bar,
        };
        self.lock().insert(id, activity);
    }

    /// Shows the next step of an activity.
    pub fn update(&self, id: u64, what: &str) {
        let running = self.lock();
        let Some(activity) = running.get(&id) else {
            return;
        };
        match &activity.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => line(&activity.thing, what),
        }
    }

    /// Shows the progress of an activity, on a spinner only.
    pub fn tick(&self, id: u64, what: &str) {
        if let Some(bar) = self
            .lock()
            .get(&id)
            .and_then(|activity| activity.bar.as_ref())
        {
            bar.set_message(what.to_owned());
        }
    }

    /// Removes an activity, and shows its result if there is one.
    pub fn finish(&self, id: u64, what: Option<&str>) {
        let Some(activity) = self.lock().remove(&id) else {
            return;
        };
        if let Some(bar) = activity.bar {
            bar.finish_and_clear();
        }
        if let Some(what) = what {
            self.suspend(|| line(&activity.thing, what));
        }
    }

    /// Returns the subjects of all running activities.
    pub fn running(&self) -> Vec<String> {
        let running = self.lock();
        running
            .values()
            .map(|activity| activity.thing.clone())
            .collect()
    }

    /// Hides the spinners while `write` runs.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Shows no spinners while `ask` reads from the terminal. Nothing waits for the answer: messages are
    /// shown meanwhile.
    pub fn pause<T>(&self, ask: impl FnOnce() -> T) -> T {
        let Some(bars) = &self.bars else {
            return ask();
        };
        // What cannot be removed from the screen is only in the way.
        let _ = bars.clear();
        bars.set_draw_target(ProgressDrawTarget::hidden());
        let answer = ask();
        bars.set_draw_target(ProgressDrawTarget::stderr());
        answer
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Activity>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(thing: &str, what: &str) {
    // There is no other place to report that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{thing}: {what}");
}
