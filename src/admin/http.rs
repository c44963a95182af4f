//! `/livez`, `/readyz` and `/metrics` of `run` and `demo`. Answers from memory alone: a probe never waits for Kafka or Postgres.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::metrics::Metrics;

/// What the endpoints answer from; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub metrics: Metrics,
    pub liveness: Liveness,
    pub readiness: Readiness,
}

/// A bound listener, so that a taken port is an error before any work starts.
#[derive(Debug)]
pub struct Http {
    listener: tokio::net::TcpListener,
}

impl Http {
    pub async fn bind(address: SocketAddr) -> std::io::Result<Http> {
        Ok(Http {
            listener: tokio::net::TcpListener::bind(address).await?,
        })
    }

    /// The address in use; differs from the one asked for where that had port 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready, then finishes the answers under way. With a token file, /metrics asks for the token
    /// that it holds then.
    pub async fn serve(
        self,
        health: Health,
        token_file: Option<PathBuf>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .layer(from_fn_with_state(token_file.map(Arc::from), ask_for_token))
            // Probes have no secrets to show, and tell none.
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .with_state(health);
        axum::serve(self.listener, routes)
            .with_graceful_shutdown(shutdown)
            .await
    }
}

/// 200 while every loop of this process ticks. Says nothing of Kafka or Postgres: a restart would not mend those.
async fn livez(State(health): State<Health>) -> impl IntoResponse {
    match health.liveness.stalled() {
        stalled if stalled.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        stalled => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("stalled: {}\n", stalled.join(", ")),
        ),
    }
}

/// 200 once the database was reached and the lanes have joined.
async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    match health.readiness.missing() {
        missing if missing.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        missing => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", missing.join(", ")),
        ),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        health.metrics.gather(),
    )
}

/// `Authorization: Bearer TOKEN` (RFC 6750), by the file as it is now.
async fn ask_for_token(
    State(file): State<Option<Arc<Path>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(file) = file else {
        return next.run(request).await;
    };
    let wanted = tokio::fs::read_to_string(&file).await;
    let wanted = wanted.as_deref().map_or("", str::trim);
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Of digests, how long the comparison takes tells nothing.
    let same = |given: &str| Sha256::digest(given.trim()) == Sha256::digest(wanted);
    match !wanted.is_empty() && given.is_some_and(same) {
        true => next.run(request).await,
        false => {
            let asked = [(header::WWW_AUTHENTICATE, "Bearer")];
            let text = "needs the token of http.token_file: Authorization: Bearer …\n";
            (StatusCode::UNAUTHORIZED, asked, text).into_response()
        }
    }
}

/// Who promised to tick, and how often. Cheap to clone. Measured on the monotonic clock.
#[derive(Debug, Clone)]
pub struct Liveness {
    started_at: Instant,
    loops: Arc<Mutex<HashMap<u64, Loop>>>,
    next_id: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    limit: Duration,
    ticked_ms: Arc<AtomicU64>,
}

/// Held by a loop. Dropping it ends the promise.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    id: u64,
    ticked_ms: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Self {
        Liveness::new()
    }
}

impl Liveness {
    pub fn new() -> Liveness {
        Liveness {
            started_at: Instant::now(),
            loops: Arc::default(),
            next_id: Arc::default(),
        }
    }

    /// From now on the loop must tick at least every `limit`.
    pub fn register(&self, name: impl Into<String>, limit: Duration) -> Heartbeat {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ticked_ms = Arc::new(AtomicU64::new(self.now_ms()));
        let entry = Loop {
            name: name.into(),
            limit,
            ticked_ms: ticked_ms.clone(),
        };
        self.lock().insert(id, entry);
        Heartbeat {
            liveness: self.clone(),
            id,
            ticked_ms,
        }
    }

    /// Loops that have not ticked within their limit, each with the time since its last tick; sorted.
    pub fn stalled(&self) -> Vec<String> {
        let now_ms = self.now_ms();
        let since = |entry: &Loop| {
            Duration::from_millis(now_ms.saturating_sub(entry.ticked_ms.load(Ordering::Relaxed)))
        };
        let mut stalled: Vec<String> = self
            .lock()
            .values()
            .filter(|entry| since(entry) > entry.limit)
            .map(|entry| format!("{} for {:.1} s", entry.name, since(entry).as_secs_f64()))
            .collect();
        stalled.sort();
        stalled
    }

    fn now_ms(&self) -> u64 {
        self.started_at.elapsed().as_millis() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Loop>> {
        // A panic elsewhere leaves the map whole: every change of it is one call.
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    /// "I still go round." One clock read and one store.
    pub fn tick(&self) {
        self.ticked_ms
            .store(self.liveness.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.liveness.lock().remove(&self.id);
    }
}

/// What must have happened before traffic, or the next pod of a roll-out, may come. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<ReadinessState>,
}

#[derive(Debug, Default)]
struct ReadinessState {
    database: AtomicBool,
    lanes_started: AtomicBool,
    lanes: AtomicUsize,
    lanes_joined: AtomicUsize,
}

impl Readiness {
    /// Settings are loaded when this is made; the rest is missing.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    pub fn database_reached(&self, reached: bool) {
        self.state.database.store(reached, Ordering::Relaxed);
    }

    /// How many lanes have joined their group, of how many. May change as projections come and go.
    pub fn lanes_joined(&self, joined: usize, of: usize) {
        self.state.lanes_joined.store(joined, Ordering::Relaxed);
        self.state.lanes.store(of, Ordering::Relaxed);
        self.state.lanes_started.store(true, Ordering::Relaxed);
    }

    /// What is still missing, in words.
    pub fn missing(&self) -> Vec<String> {
        let state = &self.state;
        let mut missing = Vec::new();
        if !state.database.load(Ordering::Relaxed) {
            missing.push("the database has not been reached".to_owned());
        }
        let (joined, lanes) = (
            state.lanes_joined.load(Ordering::Relaxed),
            state.lanes.load(Ordering::Relaxed),
        );
        match state.lanes_started.load(Ordering::Relaxed) {
            false => missing.push("no lane has started".to_owned()),
            true if joined < lanes => {
                missing.push(format!("{joined} of {lanes} lanes have joined their group"))
            }
            true => {}
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_endpoints_answer_from_what_the_loops_report_until_the_end() {
        let health = Health {
            metrics: Metrics::new(),
            liveness: Liveness::new(),
            readiness: Readiness::new(),
        };
        let http = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = http.address().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(http.serve(health.clone(), None, async { drop(stopped.await) }));

        assert!(get(address, "/readyz").await.contains("503"));
        health.readiness.database_reached(true);
        health.readiness.lanes_joined(1, 2);
        assert!(
            get(address, "/readyz")
                .await
                .ends_with("not ready: 1 of 2 lanes have joined their group\n")
        );
        health.readiness.lanes_joined(2, 2);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let stuck = health.liveness.register("lane shop/0", Duration::ZERO);
        stuck.ticked_ms.store(0, Ordering::Relaxed);
        while health.liveness.stalled().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(
            get(address, "/livez")
                .await
                .contains("stalled: lane shop/0 for ")
        );
        drop(stuck);
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));

        assert!(
            get(address, "/metrics")
                .await
                .contains("consolidator_build_info")
        );
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_loop_that_ticks_is_not_stalled() {
        let liveness = Liveness::new();
        let heartbeat = liveness.register("lane", Duration::from_secs(60));
        heartbeat.tick();
        assert!(liveness.stalled().is_empty());
    }
}
