//! A program that reads the description of the API and tries all that it promises, and what it does not: schemathesis.

use std::path::Path;
use std::time::Duration;

use stillpoint_server::access::Role;
use tokio::process::Command;

use crate::ground::Ground;

/// What is left out: the stream has no end.
const STREAM: &str = "/api/v1/events";

/// Of how many tokens the one that is used is the last: a made-up number must not remove it.
const TOKENS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_keeps_every_promise_of_its_description() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/python/bin/st");
    assert!(program.is_file(), "{} is missing: run cargo xtask prepare", program.display());
    let ground = Ground::new().await;
    ground.add("anna", Role::Administrator);
    let mut token = String::new();
    for _ in 0..TOKENS {
        token = ground.token("anna", Role::Administrator).await;
    }
    let mut st = Command::new(program);
    st.current_dir(ground.folder.path())
        .args(["run", "--no-color", "--generation-deterministic"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--continue-on-failure"])
        .args(["--exclude-path", STREAM, "--request-timeout", "30", "--warnings", "off"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg(format!("http://{}/api/v1/openapi.json", ground.address))
        .kill_on_drop(true);
    let limit = Duration::from_secs(300);
    let ended = tokio::time::timeout(limit, st.output()).await.expect("it ends in time").unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    // It really asked: every operation but the stream, and but the description, which it takes as given.
    let document = serde_json::to_value(stillpoint_server::api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|item| item.as_object().unwrap().len()).sum();
    assert!(said.contains(&format!("Tested: {}\n", operations - 2)), "{operations}: {said}");
}
