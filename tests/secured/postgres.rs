//! Postgres behind TLS: which server is believed, and what happens when a password changes.

use std::fs;
use std::path::Path;

use super::{IN_TIME, stderr};
use crate::support::certificates::{Certificates, Certified, HOST};
use crate::support::database::Database;
use crate::support::definitions::counter;
use crate::support::space::Space;
use crate::support::start_postgres;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use consolidator::demo::postgres::PostgresServer;

/// Who has to show a certificate.
const CERTIFIED: &str = "certified";

/// A server whose TLS can be turned on, off and over while it runs.
struct Secured {
    server: PostgresServer,
    certificates: Certificates,
    database: Database,
}

impl Secured {
    fn start() -> Secured {
        let server = start_postgres(&[]);
        let database = Database::at(&(server.url("postgres") + "?sslmode=disable"));
        let secured = Secured {
            certificates: Certificates::new(),
            server,
            database,
        };
        let rules = secured.database.value("show hba_file").unwrap();
        let more = fs::read_to_string(&rules).unwrap();
        let rule =
            format!("hostssl all {CERTIFIED} all cert\nhostnossl all {CERTIFIED} all reject\n");
        fs::write(&rules, rule + &more).unwrap();
        let authority = secured.authority();
        secured.set("ssl_ca_file", &authority);
        secured
    }

    fn set(&self, name: &str, value: &str) {
        self.database
            .execute(&format!("alter system set {name} = '{value}'"));
    }

    /// Shows this certificate from now on. Its key has to be the server's own file.
    fn show(&self, certified: &Certified, to_be_seen: impl Fn(&Secured) -> bool) {
        let folder = self.server.log_file().parent().unwrap().to_owned();
        let key = folder.join(certified.key.file_name().unwrap());
        fs::copy(&certified.key, &key).unwrap();
        let owner = fs::metadata(&folder).unwrap();
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::chown(&key, Some(owner.uid()), Some(owner.gid())).unwrap();
        crate::support::certificates::open_to_all(&key, 0o600);
        self.set(
            "ssl_cert_file",
            &certified.certificate.display().to_string(),
        );
        self.set("ssl_key_file", &key.display().to_string());
        self.set("ssl", "on");
        self.database.execute("select pg_reload_conf()");
        wait_until("the server to show its certificate", IN_TIME, || {
            to_be_seen(self)
        });
    }

    fn authority(&self) -> String {
        self.certificates.authority().display().to_string()
    }

    /// The superuser's url, at this host, with these parameters.
    fn url(&self, host: &str, parameters: &str) -> String {
        let url = self.server.url("postgres").replace("127.0.0.1", host);
        format!("{url}?{parameters}")
    }

    fn verified(&self) -> String {
        self.url(
            HOST,
            &format!("sslmode=verify-full&sslrootcert={}", self.authority()),
        )
    }
}

/// What `status` says with this url.
fn told(space: &mut Space, url: String) -> (Option<i32>, String) {
    space.settings.postgres_url = url;
    let output = space.run(&["status"]);
    (output.status.code(), stderr(&output))
}

#[test]
fn a_postgres_is_believed_by_its_certificate_and_no_other() {
    let mut secured = Secured::start();
    let mut space = Space::new("tls");
    let mut refused = |url: String, reason: &str, hint: &str| {
        let (status, text) = told(&mut space, url);
        assert_eq!(status, Some(2), "{reason}: {text}");
        assert!(text.contains(reason) && text.contains(hint), "{text}");
    };
    refused(
        secured.verified(),
        "does not support TLS",
        "sslmode=disable",
    );

    let answers = |url: &str| Database::at(url).try_query("select 1").is_ok();
    let right = secured.certificates.server();
    secured.show(&right, |secured| answers(&secured.verified()));
    let mode = "sslmode=verify-full";
    refused(secured.url(HOST, mode), "UnknownIssuer", "sslrootcert=");
    let others = Certificates::new();
    let theirs = format!("{mode}&sslrootcert={}", others.authority().display());
    refused(secured.url(HOST, &theirs), "UnknownIssuer", "sslrootcert=");
    let nowhere = format!("{mode}&sslrootcert=/nowhere/ca.pem");
    refused(
        secured.url(HOST, &nowhere),
        "sslrootcert",
        "/nowhere/ca.pem",
    );
    let trusted = format!("{mode}&sslrootcert={}", secured.authority());
    refused(
        secured.url("127.0.0.1", &trusted),
        "not valid for name",
        "by the name",
    );
    let unknown = secured.url(HOST, "sslmode=verify-full&sslpassword=canary");
    let (_, text) = told(&mut space, unknown);
    assert!(
        text.contains("is none of") && !text.contains("canary"),
        "{text}"
    );

    a_worker_goes_on_through_it(&secured);

    let expired = secured.certificates.expired();
    let seen = |secured: &Secured| !answers(&secured.verified());
    secured.show(&expired, seen);
    let (status, text) = told(&mut space, secured.verified());
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains("expired") && text.contains("new certificate"),
        "{text}"
    );
    secured.server.stop_fast();
}

/// By a certificate of its own, where the server asks for one.
fn a_worker_goes_on_through_it(secured: &Secured) {
    let plain = |database: &str| secured.server.url(database) + "?sslmode=disable";
    let mut space = Space::on_postgres("mutual_tls", &plain);
    secured
        .database
        .execute(&format!("create role {CERTIFIED} login"));
    let grant = format!("grant create on database {} to {CERTIFIED}", space.id);
    secured.database.execute(&grant);
    let topic = space.topic("events", 1);
    space.definition("small", &counter("small", &topic));
    Producer::new(space.kafka).write(&topic, &[Record::new("a", r#"{"type":"Added"}"#)]);

    let place = format!(
        "postgres://{CERTIFIED}@{HOST}:{}/{}",
        secured.server.port(),
        space.id
    );
    let trusted = format!("sslmode=verify-full&sslrootcert={}", secured.authority());
    let (status, text) = told(&mut space, format!("{place}?{trusted}"));
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("certificate"), "{text}");

    let own = secured.certificates.client(CERTIFIED);
    let file = |path: &Path| path.display().to_string();
    let shown = format!(
        "sslcert={}&sslkey={}",
        file(&own.certificate),
        file(&own.key)
    );
    space.settings.postgres_url = format!("{place}?{trusted}&{shown}");
    let _worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, 0, IN_TIME);
    let lanes = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'certified'";
    assert_eq!(space.database.value(lanes).as_deref(), Some("t"));
}

#[test]
fn a_password_that_was_changed_is_read_again_from_the_file_of_the_url() {
    let mut space = Space::new("rotated_url");
    let (role, url) = space.role("worker");
    let database = &space.database;
    database.execute(&format!("grant create on database {} to {role}", space.id));
    let file = space.dir().join("postgres-url");
    fs::write(&file, &url).unwrap();
    space.settings.postgres_url_file = Some(file.display().to_string());
    let topic = space.topic("events", 1);
    space.definition("small", &counter("small", &topic));
    let event = [Record::new("a", r#"{"type":"Added"}"#)];
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &event);
    let worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, 0, IN_TIME);

    let end = format!(
        "alter role {role} password 'new-secret'; \
         select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
    );
    space.database.execute(&end);
    worker.wait_for_log("password authentication failed", IN_TIME);
    producer.write(&topic, &event);
    fs::write(&file, url.replace("reader-secret", "new-secret")).unwrap();
    space.wait_offset("small", &topic, 0, 1, IN_TIME);
    wait_until("status to be content", IN_TIME, || {
        space.run(&["status"]).status.success()
    });
    assert!(worker.is_running());
    assert!(!worker.log().contains("-secret"), "{}", worker.log());
}
