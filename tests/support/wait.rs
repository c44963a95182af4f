//! The one place where tests wait for another process. Tests themselves never sleep.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Other processes give no signal to wait for.
const POLL: Duration = Duration::from_millis(20);

/// Looks at `probe` until it gives something; fails the test after `timeout`.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        let waited = start.elapsed();
        assert!(waited < timeout, "waited {waited:.1?} in vain for {what}");
        thread::sleep(POLL);
    }
}

/// Looks at a condition until it holds; fails the test after `timeout`.
pub fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, timeout, || holds().then_some(()));
}

/// Lets a given time pass, for what is defined by time: a session that times out, a steady rate.
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}
