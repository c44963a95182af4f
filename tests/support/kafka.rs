//! Owns an Apache Kafka of one node (KRaft): fetches its jars, starts it on free ports, ends it.
//! Knows topics as an administrator does; what is in them is `topic`'s.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consolidator::demo::postgres::free_port;
use consolidator::demo::process::ServerProcess;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

use super::certificates::{Certificates, HOST};
use super::wait::wait_for;
use super::{block_on, download, lock, run_dir};

const JARS: &str = include_str!("kafka-4.1.0.jars");
const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTH_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
const START_TIMEOUT: Duration = Duration::from_secs(90);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);
const JAVA_OPTIONS: [&str; 4] = [
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

/// Starts in half the time; of many small requests each takes half as much again.
const START_SOON: &str = "-XX:TieredStopAtLevel=1";
static RUNS_LONG: AtomicBool = AtomicBool::new(false);

/// Brokers that are started from now on are compiled as a deployed one is, and give the members of a new group time to join: for who
/// measures.
pub fn run_long() {
    RUNS_LONG.store(true, Ordering::Relaxed);
}

/// A broker on 127.0.0.1. All methods may be called from any test.
pub struct KafkaServer {
    /// For `kafka.brokers`.
    pub brokers: String,
    port: u16,
    controller_port: u16,
    class_path: String,
    /// Of every topic; as many brokers are in its cluster.
    replicas: usize,
    dir: TempDir,
    process: Mutex<Option<ServerProcess>>,
}

/// A broker that asks who is there, and the ports of its listeners.
pub struct SecuredKafka {
    pub server: KafkaServer,
    /// TLS, and a password.
    pub scram: u16,
    /// TLS, and a certificate of the client's own, of the authority.
    pub mutual: u16,
    /// TLS, by a certificate of yesterday.
    pub expired: u16,
    /// TLS, and a token that is not signed.
    pub token: u16,
}

impl KafkaServer {
    /// Starts a new, empty broker and waits until it answers.
    pub fn start() -> KafkaServer {
        let server = KafkaServer::new();
        server.format("", &[]);
        server.start_again();
        server
    }

    /// Three brokers that are each other's controllers; every record is on all of them, and acknowledged by two. Each in the list has
    /// the id of its place, from 1.
    pub fn start_three() -> Vec<KafkaServer> {
        let mut servers: Vec<KafkaServer> = (0..3).map(|_| KafkaServer::new()).collect();
        let list = |one: &dyn Fn(usize, &KafkaServer) -> String| {
            let all: Vec<String> = servers
                .iter()
                .enumerate()
                .map(|(n, s)| one(n + 1, s))
                .collect();
            all.join(",")
        };
        let brokers = list(&|_, server| server.brokers.clone());
        let voters = list(&|id, server| format!("{id}@127.0.0.1:{}", server.controller_port));
        for server in &mut servers {
            server.brokers = brokers.clone();
            server.replicas = 3;
        }
        std::thread::scope(|scope| {
            for (number, server) in servers.iter().enumerate() {
                let more = format!(
                    "node.id={}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
# A broker that says nothing is gone.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
",
                    number + 1
                );
                scope.spawn(move || {
                    server.format(&more, &[]);
                    server.start_again();
                });
            }
        });
        servers
    }

    /// The same with listeners that ask who is there, and one whose certificate has expired. Only users with rights may do
    /// anything; the listener without TLS is for the administrator.
    pub fn start_secured(certificates: &Certificates, user: &str, password: &str) -> SecuredKafka {
        let server = KafkaServer::new();
        let names = ["SCRAM", "MUTUAL", "EXPIRED", "TOKEN"];
        let ports = names.map(|_| free_port().unwrap());
        let (port, controller_port) = (server.port, server.controller_port);
        let all = |host: &str| {
            let named = names.iter().zip(ports);
            let named: Vec<_> = named
                .map(|(name, port)| format!("{name}://{host}:{port}"))
                .collect();
            format!("PLAINTEXT://127.0.0.1:{port},{}", named.join(","))
        };
        let (listeners, advertised) = (all("127.0.0.1"), all(HOST));
        let pem = |file: &Path| file.display().to_string();
        let (right, expired) = (certificates.server().both, certificates.expired().both);
        let (right, expired, authority) =
            (pem(&right), pem(&expired), pem(&certificates.authority()));
        // Of equal keys the last one counts.
        let properties = format!(
            "listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,EXPIRED:SSL,TOKEN:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={right}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={expired}
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.scram.scram-sha-512.sasl.jaas.config={SCRAM_MODULE} required;
listener.name.token.oauthbearer.sasl.jaas.config={OAUTH_MODULE} required unsecuredLoginStringClaim_sub=\"broker\";
listener.name.scram.scram-sha-512.connections.max.reauth.ms=2000
listener.name.token.oauthbearer.connections.max.reauth.ms=5000
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"
        );
        let user_added = format!("SCRAM-SHA-512=[name={user},password={password}]");
        server.format(&properties, &["--add-scram", &user_added]);
        server.start_again();
        let [scram, mutual, expired, token] = ports;
        SecuredKafka {
            server,
            scram,
            mutual,
            expired,
            token,
        }
    }

    /// Runs a program of Kafka's own.
    pub fn run_tool(&self, main_class: &str, arguments: &[&str]) {
        let output = self.java(main_class).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn new() -> KafkaServer {
        let jars = download::fetch_all(&download::parse_list(JARS), &jar_cache());
        let jars: Vec<String> = jars.iter().map(|jar| jar.display().to_string()).collect();
        let dir = tempfile::Builder::new()
            .prefix("kafka-")
            .tempdir_in(run_dir())
            .unwrap();
        let port = free_port().unwrap();
        KafkaServer {
            brokers: format!("127.0.0.1:{port}"),
            port,
            controller_port: free_port().unwrap(),
            class_path: jars.join(":"),
            replicas: 1,
            dir,
            process: Mutex::new(None),
        }
    }

    /// Starts the stopped broker on its old data and ports.
    pub fn start_again(&self) {
        let mut command = self.java("kafka.Kafka");
        command.arg(self.properties_file());
        let mut log_options = File::options();
        let log = log_options.create(true).append(true).open(self.log_file());
        command.stdout(log.unwrap());
        let log = log_options.open(self.log_file()).unwrap();
        command.stderr(log);
        let process = ServerProcess::spawn(command, libc::SIGKILL).unwrap();
        wait_for("Kafka to answer", START_TIMEOUT, || {
            assert!(
                process.ended().is_none(),
                "Kafka ended:\n{}",
                self.log_tail()
            );
            self.answers().then_some(())
        });
        *lock(&self.process) = Some(process);
    }

    /// Ends the broker in good order: groups and logs are closed.
    pub fn stop(&self) {
        if let Some(process) = lock(&self.process).take() {
            process.signal(libc::SIGTERM);
            let ended = process.wait(Duration::from_secs(60));
            assert!(ended.is_some(), "Kafka did not stop:\n{}", self.log_tail());
        }
    }

    /// Ends the broker as a crash does.
    pub fn kill(&self) {
        // Dropping kills.
        lock(&self.process).take();
    }

    /// Makes a topic; `configs` are topic configurations like `("cleanup.policy", "compact")`.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let mut topic = NewTopic::new(
            name,
            partitions,
            TopicReplication::Fixed(self.replicas as i32),
        );
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let results = block_on(self.admin().create_topics([&topic], &admin_options())).unwrap();
        results[0].as_ref().expect("the topic is made");
        self.await_partitions(name, partitions as usize);
    }

    /// Raises the number of partitions to `partitions`.
    pub fn add_partitions(&self, name: &str, partitions: usize) {
        let more = NewPartitions::new(name, partitions);
        let results = block_on(self.admin().create_partitions([&more], &admin_options())).unwrap();
        results[0].as_ref().expect("partitions are added");
        self.await_partitions(name, partitions);
    }

    /// The same under a name that was just deleted: the broker needs a moment.
    pub fn create_topic_when_free(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(
            name,
            partitions,
            TopicReplication::Fixed(self.replicas as i32),
        );
        wait_for("the topic's name to be free", ADMIN_TIMEOUT, || {
            let results = block_on(self.admin().create_topics([&topic], &admin_options())).unwrap();
            results[0].is_ok().then_some(())
        });
        self.await_partitions(name, partitions as usize);
    }

    pub fn delete_topic(&self, name: &str) {
        let results = block_on(self.admin().delete_topics(&[name], &admin_options())).unwrap();
        results[0].as_ref().expect("the topic is deleted");
    }

    /// The first offset and the end offset of every partition.
    pub fn offsets(&self, topic: &str) -> Vec<(i64, i64)> {
        let consumer = self.consumer();
        let metadata = consumer.fetch_metadata(Some(topic), ADMIN_TIMEOUT).unwrap();
        let partitions = metadata.topics()[0].partitions().len() as i32;
        (0..partitions)
            .map(|partition| {
                consumer
                    .fetch_watermarks(topic, partition, ADMIN_TIMEOUT)
                    .unwrap()
            })
            .collect()
    }

    /// The broker that leads a partition, and how many have all of it, as the cluster says.
    pub fn leader(&self, topic: &str, partition: usize) -> Option<(i32, usize)> {
        let consumer = self.consumer();
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(2));
        let metadata = metadata.ok()?;
        let partition = metadata.topics().first()?.partitions().get(partition)?;
        Some((partition.leader(), partition.isr().len()))
    }

    /// A configuration for a client of this broker.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("log_level", "3");
        config
    }

    /// The file that holds the first records of a partition.
    pub fn first_segment(&self, topic: &str, partition: i32) -> PathBuf {
        let dir = self.dir.path().join("data");
        dir.join(format!("{topic}-{partition}/00000000000000000000.log"))
    }

    /// Deletes the records of partition 0 below an offset, as retention does.
    pub fn delete_below(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset))
            .unwrap();
        block_on(self.admin().delete_records(&list, &admin_options())).unwrap();
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("kafka.log")
    }

    fn await_partitions(&self, topic: &str, partitions: usize) {
        let consumer = self.consumer();
        wait_for("the topic's leaders", ADMIN_TIMEOUT, || {
            let metadata = consumer.fetch_metadata(Some(topic), ADMIN_TIMEOUT).ok()?;
            let found = metadata.topics()[0].partitions();
            let led = found
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count();
            (led == partitions).then_some(())
        });
    }

    fn answers(&self) -> bool {
        let metadata = self.consumer().fetch_metadata(None, Duration::from_secs(1));
        metadata.is_ok_and(|metadata| metadata.brokers().len() == self.replicas)
    }

    fn consumer(&self) -> BaseConsumer {
        // Unreachable brokers are what a starting one looks like: nothing to log.
        self.client_config().set("log_level", "0").create().unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client_config().create().unwrap()
    }

    /// Writes the settings, with more lines of them, and the metadata that every KRaft node begins with.
    fn format(&self, more: &str, arguments: &[&str]) {
        let data = self.dir.path().join("data");
        let properties = properties(self.port, self.controller_port, &data);
        fs::write(self.properties_file(), properties + more).unwrap();
        let output = self
            .java("kafka.tools.StorageTool")
            .args([
                "format",
                "--cluster-id",
                "Y29uc29saWRhdG9yAAAAAA",
                "--config",
            ])
            .arg(self.properties_file())
            .args(arguments)
            .output()
            .expect("a Java runtime (17 or newer) on the PATH");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "Kafka's storage tool failed: {text}"
        );
    }

    fn java(&self, main_class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(JAVA_OPTIONS);
        if !RUNS_LONG.load(Ordering::Relaxed) {
            command.arg(START_SOON);
        }
        if self.replicas > 1 {
            command.arg("-Xmx256m");
        }
        command.arg("-cp").arg(&self.class_path);
        command.arg(main_class).current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn log_tail(&self) -> String {
        super::worker::tail(&self.log_file(), 30)
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT))
}

/// The cache is shared by builds of one checkout.
fn jar_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder")
        .join("test-servers/kafka-4.1.0")
}

fn properties(port: u16, controller_port: u16, data: &Path) -> String {
    // So that a worker's lanes, which join within milliseconds of each other, join together.
    let delay_ms = if RUNS_LONG.load(Ordering::Relaxed) {
        50
    } else {
        0
    };
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms={delay_ms}
group.min.session.timeout.ms=1000
# Sample events have timestamps of their own, some of them years old.
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.backoff.ms=500
num.network.threads=2
num.io.threads=4
",
        data.display()
    )
}
