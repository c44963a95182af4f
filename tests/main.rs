mod store;
mod support {
    use std::future::Future;
    pub fn postgres_url(database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:54313/{database}")
    }
    pub fn block_on<F: Future>(future: F) -> F::Output {
        static R: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
        R.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()).block_on(future)
    }
}
