//! What the manual shows works as it stands there.

use crate::stack::{Optimizer, Running, alert, eventually, free_address, program};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn the_hook_of_the_manual_gives_memory_back() {
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    let Some(python) = program(&["python3"]) else { return };
    let manual = include_str!("../../docs/app-hook.md");
    let code = manual.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let address = free_address();
    assert!(code.contains("cache = {}") && code.contains("8080"));
    let code = code
        .replace("cache = {}", "cache = {n: b'x' * (1 << 20) for n in range(200)}")
        .replace("8080", &address.port().to_string());
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("hook.py");
    std::fs::write(&script, code).unwrap();
    let _application = Running::start(Command::new(python).arg(&script), &dir.path().join("log"));
    eventually("the application listens", 20, || TcpStream::connect(address).ok());
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 60MiB}}]", script.display());
    let targets = format!(
        "  targets: [{{name: held, process_group: held, hook: {{url: 'http://{address}/headroom/reclaim'}}}}]\n"
    );
    let optimizer = Optimizer::start(&top, &targets);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(30);
    assert_eq!(entry["result"], "effective", "{entry:#}");
    // How much depends on what others take meanwhile.
    assert!(entry["freed_bytes"].as_u64().unwrap() >= 8 << 20, "{entry:#}");
    let freed = optimizer.metric("headroom_optimizer_freed_bytes_total{action=\"app_hook\",target=\"held\"}");
    assert_eq!(freed, entry["freed_bytes"].as_f64().unwrap());
}

#[test]
fn the_readmes_configuration_is_good() {
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let config = headroom::config::Config::parse(block, std::path::Path::new("README.md")).unwrap();
        assert_eq!(config.optimizer.targets.len(), 1);
    }
    for page in [include_str!("../../docs/app-hook.md"), include_str!("../../docs/outside.md")] {
        for block in page.split("```yaml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            headroom::config::Config::parse(text, std::path::Path::new("page.md")).unwrap();
        }
    }
}
