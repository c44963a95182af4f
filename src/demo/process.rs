//! Owns a server process that this program starts: it ends with us, however we end.
//!
//! Knows nothing of what the process serves. The kernel is asked to signal the process when the thread
//! that started it ends (`PR_SET_PDEATHSIG`, prctl(2)), so every process gets a thread of its own that
//! does nothing but wait for it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// A running server process. It is in a process group of its own, so that a terminal's Ctrl-C does not
/// reach it before its owner ends it.
#[derive(Debug)]
pub struct ServerProcess {
    pid: libc::pid_t,
    exit: Arc<Exit>,
}

/// How the process ended, once it has.
#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl ServerProcess {
    /// Starts `command`. `death_signal` is what the kernel sends to it when this program dies.
    pub fn spawn(mut command: Command, death_signal: libc::c_int) -> io::Result<ServerProcess> {
        command.process_group(0);
        // SAFETY: the closure runs between fork and exec and only makes the system call prctl, which
        // is async-signal-safe; it touches no memory of this process.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, death_signal) == 0 {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
        let exit = Arc::new(Exit::default());
        let (started, starting) = mpsc::channel();
        let keeper_exit = Arc::clone(&exit);
        thread::Builder::new()
            .name("server-keeper".into())
            .spawn(move || {
                let child = command.spawn();
                match child {
                    Ok(child) => {
                        let _ = started.send(Ok(child.id() as libc::pid_t));
                        keep(child, &keeper_exit);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })?;
        let pid = starting
            .recv()
            .map_err(|_| io::Error::other("the thread that starts a server ended"))??;
        Ok(ServerProcess { pid, exit })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal, unless the process has ended already.
    pub fn signal(&self, signal: libc::c_int) {
        let status = self.exit.lock();
        if status.is_none() {
            // SAFETY: the process has not been reaped (that happens under the same lock), so its id
            // still belongs to it.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// How the process ended, or none while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.exit.lock()
    }

    /// Waits for the end of the process, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let status = self.exit.lock();
        let (status, _) = self
            .exit
            .ended
            .wait_timeout_while(status, timeout, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }
}

impl Drop for ServerProcess {
    /// The owner had its chance to end the process with more grace.
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait(Duration::from_secs(5));
    }
}

impl Exit {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of the process without reaping it, then reaps it under the lock that `signal` takes.
fn keep(mut child: Child, exit: &Exit) {
    // SAFETY: `info` is a plain C structure for which all zeroes are valid, and it outlives the call.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        while libc::waitid(
            libc::P_PID,
            child.id() as libc::id_t,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        ) == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    let mut status = exit.lock();
    *status = Some(
        child
            .wait()
            .unwrap_or_else(|_| std::os::unix::process::ExitStatusExt::from_raw(libc::SIGKILL)),
    );
    exit.ended.notify_all();
}
