//! What the harness runs on: a broker, a primary with its standby, the proxies between, workers. Carries out one fault at a time, and
//! takes it back when it is due. Knows nothing of what must hold.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

use super::load::Load;
use crate::support::database::Database;
use crate::support::definitions::{ACCOUNTS, BRANCHES};
use crate::support::kafka::KafkaServer;
use crate::support::node::Node;
use crate::support::proxy::Proxy;
use crate::support::space::Space;
use crate::support::wait::{let_pass, wait_until};
use crate::support::wire::{Cut, WireProxy};
use crate::support::worker::Worker;

pub const WORKERS: usize = 3;
const PARTITIONS: i32 = 4;
const PARTITIONS_MAX: i32 = 12;
const IN_TIME: Duration = Duration::from_secs(60);

const DEFINITIONS: [(&str, &str); 2] = [("accounts", ACCOUNTS), ("branches", BRANCHES)];

/// What is done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillWorker,
    FreezeWorker,
    TerminateWorker,
    StopBroker,
    KillBroker,
    RestartPostgres,
    CrashPostgres,
    EndSessions,
    CutBeforeCommit,
    CutAfterCommit,
    CutOff,
    FailOver,
    AddPartitions,
    Rebuild,
    Rollback,
}

pub const FAULTS: [Fault; 15] = [
    Fault::KillWorker,
    Fault::FreezeWorker,
    Fault::TerminateWorker,
    Fault::StopBroker,
    Fault::KillBroker,
    Fault::RestartPostgres,
    Fault::CrashPostgres,
    Fault::EndSessions,
    Fault::CutBeforeCommit,
    Fault::CutAfterCommit,
    Fault::CutOff,
    Fault::FailOver,
    Fault::AddPartitions,
    Fault::Rebuild,
    Fault::Rollback,
];

/// What takes a fault back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heal {
    Start(usize),
    Thaw(usize),
    StartBroker,
    StartPostgres,
    LeaveSessions,
    Mend,
}

// In the order in which they must go: what uses a server before the server.
pub struct World {
    load: Option<Load>,
    workers: Vec<Option<Worker>>,
    /// Commands under way; nobody waits for them.
    commands: Vec<Worker>,
    started: usize,
    healing: Vec<(Instant, Heal)>,
    ends_sessions: bool,
    wire: WireProxy,
    /// Between the standby and its primary.
    link: Proxy,
    standby: Node,
    primary: Node,
    pub topic: String,
    pub space: Space,
    pub kafka: &'static KafkaServer,
    /// Rises when commits were lost with a primary: checkpoints may have gone back.
    pub era: u32,
}

impl World {
    pub fn new(seed: u64) -> World {
        let kafka: &'static KafkaServer = Box::leak(Box::new(KafkaServer::start()));
        let mut primary = Node::start();
        let link = Proxy::to(&primary.address());
        let standby = primary.standby(&format!("127.0.0.1:{}", link.port));
        let mut space = Space::on_postgres("harness", &|database| primary.url(database));
        let wire = WireProxy::to(&primary.address());
        let (direct, through) = (primary.address(), format!("127.0.0.1:{}", wire.port));
        space.settings.postgres_url = space.settings.postgres_url.replace(&direct, &through);
        space.kafka = kafka;
        space.settings.brokers = kafka.brokers.clone();
        space
            .settings
            .more
            .push("rebuild:\n  grace: 20s".to_owned());
        let slow = "batch-ready=1%sleep(150);batch-claimed=1%sleep(150);batch-written=1%sleep(150)";
        space.environment = vec![("FAILPOINTS".to_owned(), slow.to_owned())];
        let topic = space.topic("payments", PARTITIONS);
        for (name, text) in DEFINITIONS {
            space.definition(name, &text.replace("TOPIC", &topic));
        }
        let load = Load::start(kafka, &topic, PARTITIONS, seed);
        let mut world = World {
            load: Some(load),
            workers: (0..WORKERS).map(|_| None).collect(),
            commands: Vec::new(),
            started: 0,
            healing: Vec::new(),
            ends_sessions: false,
            wire,
            link,
            standby,
            primary,
            topic,
            space,
            kafka,
            era: 0,
        };
        for number in 0..WORKERS {
            world.start_worker(number);
        }
        world
    }

    /// Carries a fault out, unless something in its way is not healed yet; false then.
    pub fn strike(&mut self, fault: Fault, random: &mut StdRng) -> bool {
        let hurts = |heal: Heal| self.healing.iter().any(|(_, open)| *open == heal);
        let postgres_is_hurt = hurts(Heal::StartPostgres) || hurts(Heal::Mend);
        let broker_is_hurt = hurts(Heal::StartBroker);
        let number = random.random_range(0..WORKERS);
        let millis = random.random_range(200..3_000);
        let worker_is_hurt = hurts(Heal::Start(number)) || hurts(Heal::Thaw(number));
        match fault {
            Fault::KillWorker | Fault::FreezeWorker | Fault::TerminateWorker if worker_is_hurt => {
                return false;
            }
            Fault::RestartPostgres
            | Fault::CrashPostgres
            | Fault::CutOff
            | Fault::FailOver
            | Fault::EndSessions
                if postgres_is_hurt || hurts(Heal::LeaveSessions) =>
            {
                return false;
            }
            Fault::StopBroker | Fault::KillBroker | Fault::AddPartitions if broker_is_hurt => {
                return false;
            }
            _ => {}
        }
        match fault {
            Fault::KillWorker => {
                self.take_worker(number).kill();
                self.heal_after(millis, Heal::Start(number));
            }
            Fault::FreezeWorker => {
                self.worker(number).freeze();
                // Some wake before their session is over, some after.
                self.heal_after(millis * 4, Heal::Thaw(number));
            }
            Fault::TerminateWorker => {
                let worker = self.take_worker(number);
                let status = worker.terminate(IN_TIME);
                assert!(status.success(), "{} ended with {status}", worker.name);
                self.heal_after(millis, Heal::Start(number));
            }
            Fault::StopBroker => {
                self.kafka.stop();
                self.heal_after(millis, Heal::StartBroker);
            }
            Fault::KillBroker => {
                self.kafka.kill();
                self.heal_after(millis, Heal::StartBroker);
            }
            Fault::RestartPostgres => {
                self.primary.stop_fast();
                self.heal_after(millis, Heal::StartPostgres);
            }
            Fault::CrashPostgres => {
                self.primary.stop_immediate();
                self.heal_after(millis, Heal::StartPostgres);
            }
            Fault::EndSessions => {
                self.ends_sessions = true;
                self.heal_after(millis, Heal::LeaveSessions);
            }
            Fault::CutBeforeCommit => self.wire.cut_at_commit(Cut::BeforeCommit),
            Fault::CutAfterCommit => self.wire.cut_at_commit(Cut::AfterCommit),
            Fault::CutOff => {
                self.wire.cut();
                self.heal_after(millis, Heal::Mend);
            }
            Fault::FailOver => self.fail_over(),
            Fault::AddPartitions => {
                let load = self.load.as_ref().expect("events are written");
                let partitions = load.partitions.load(Ordering::Acquire) + 1;
                if partitions <= PARTITIONS_MAX {
                    self.kafka.add_partitions(&self.topic, partitions as usize);
                    load.partitions.store(partitions, Ordering::Release);
                }
            }
            Fault::Rebuild => self.command(&["rebuild", DEFINITIONS[number % 2].0, "--no-wait"]),
            Fault::Rollback => self.command(&["rollback", DEFINITIONS[number % 2].0]),
        }
        true
    }

    /// Takes back what is due.
    pub fn heal_due(&mut self) {
        let now = Instant::now();
        let (due, open) = std::mem::take(&mut self.healing)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.healing = open;
        for (_, heal) in due {
            self.heal(heal);
        }
        if self.ends_sessions {
            self.end_a_session();
        }
        for worker in self.workers.iter().flatten() {
            assert!(worker.is_running(), "{} ended by itself", worker.name);
        }
    }

    /// Takes everything back.
    pub fn heal_all(&mut self) {
        for (_, heal) in std::mem::take(&mut self.healing) {
            self.heal(heal);
        }
        // A command that still waits for something would be one more hand on the projections.
        self.commands.clear();
    }

    /// No more events from now on; gives how many were written, those of aborted transactions included.
    pub fn end_load(&mut self) -> u64 {
        self.load.take().expect("events are written").end()
    }

    /// Ends the workers in good order.
    pub fn end_workers(&mut self) {
        for worker in self.workers.iter_mut().filter_map(Option::take) {
            let status = worker.terminate(IN_TIME);
            assert!(status.success(), "{} ended with {status}", worker.name);
        }
    }

    fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Start(number) => self.start_worker(number),
            Heal::Thaw(number) => self.worker(number).thaw(),
            Heal::StartBroker => self.kafka.start_again(),
            Heal::StartPostgres => self.primary.start_again(),
            Heal::LeaveSessions => self.ends_sessions = false,
            Heal::Mend => self.wire.mend(),
        }
    }

    fn heal_after(&mut self, millis: u64, heal: Heal) {
        let at = Instant::now() + Duration::from_millis(millis);
        self.healing.push((at, heal));
    }

    fn start_worker(&mut self, number: usize) {
        self.started += 1;
        let name = format!("worker-{number}-{}", self.started);
        self.workers[number] = Some(self.space.start_worker(&name));
    }

    fn worker(&self, number: usize) -> &Worker {
        self.workers[number].as_ref().expect("the worker is there")
    }

    fn take_worker(&mut self, number: usize) -> Worker {
        self.workers[number].take().expect("the worker is there")
    }

    /// The primary is lost with what its standby has not heard of yet; the standby takes its place, and gets one of its own.
    fn fail_over(&mut self) {
        self.link.cut();
        // Commits that will be lost.
        let_pass(Duration::from_millis(700));
        self.primary.stop_immediate();
        self.standby.promote();
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.era += 1;
        let address = self.primary.address();
        self.wire.redirect(&address);
        let database = self.space.database.url();
        let (_, name) = database.rsplit_once('/').expect("a database");
        self.space.database = Database::at(&self.primary.url(name));
        self.link = Proxy::to(&address);
        let link = format!("127.0.0.1:{}", self.link.port);
        self.standby = self.primary.standby(&link);
    }

    fn end_a_session(&self) {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity \
            where pid <> pg_backend_pid() and datname = current_database() order by random() limit 1";
        // A server that is away has no sessions.
        let _ = self.space.database.try_query(end);
    }

    fn command(&mut self, arguments: &[&str]) {
        let file = self.space.write_settings("command");
        let mut all = arguments.to_vec();
        all.extend(["--config", &file]);
        let name = format!("command-{}", self.commands.len());
        self.commands
            .push(Worker::start(&name, self.space.dir(), &all, &[]));
    }

    /// Nothing is behind, in any generation that is fed.
    pub fn wait_level(&self, bound: Duration) {
        let topics = [self.topic.as_str()];
        let started = Instant::now();
        for (name, _) in DEFINITIONS {
            self.space.wait_applied(name, &topics, bound);
        }
        let level =
            "select count(*) filter (where gap = 0 and state = 'live') from consolidator.freshness";
        let left = bound.saturating_sub(started.elapsed());
        wait_until("a gap of 0", left.max(Duration::from_secs(5)), || {
            let counted = self.space.database.try_query(level);
            counted.is_ok_and(|rows| rows[0][0] == Some(DEFINITIONS.len().to_string()))
        });
    }
}
