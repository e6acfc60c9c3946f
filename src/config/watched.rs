//! What a target watches, where it is one of the services: the query for that service's objective.

use super::near::unknown;
use crate::optimize::policy::Target;
use crate::services::Service;

/// Lets each target that watches a service ask for what the service's objective is about; or the wrong key, and why.
pub(super) fn ask(targets: &mut [Target], services: &[Service]) -> Result<(), (String, String)> {
    for (i, watched) in targets.iter_mut().map(|target| &mut target.watch).enumerate() {
        let Some(watched) = watched else { continue };
        let Some((name, objective)) = watched.service() else { continue };
        let error = |field: &str, why| (format!("optimizer.targets[{i}].watch.{field}"), why);
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let Some(service) = services.iter().find(|service| service.name == name) else {
            return Err(error("service", unknown(name, &names)));
        };
        let query = service.watched(objective).map_err(|why| error("objective", why))?;
        watched.ask(query);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn a_target_watches_a_service_by_its_objective() {
        let parse = |watch: &str| {
            let text = format!(
                "services: [{{name: shop, latency: {{histogram: h}}}}]\noptimizer: {{targets: [{{name: cache, cgroup: /c, watch: \
                 {{url: 'http://a', harmful_above_ratio: 1.5, {watch}}}}}]}}\n"
            );
            let parsed = Config::parse(&text, Path::new("/nowhere/c.yaml"));
            parsed.map(|config| format!("{:?}", config.optimizer.targets[0].watch)).map_err(|e| e.to_string())
        };
        assert!(
            parse("service: shop")
                .unwrap()
                .contains("histogram_quantile(0.95, sum by (le) (rate(h_bucket[1m])))")
        );
        assert!(parse("service: shop, objective: p99").unwrap().contains("histogram_quantile(0.99"));
        for (watch, why) in [
            (
                "service: shup",
                "optimizer.targets[0].watch.service: unknown name `shup`; did you mean `shop`?",
            ),
            (
                "service: shop, objective: errors",
                "watch.objective: the service `shop` says nothing about that",
            ),
            ("service: shop, objective: p42", "`p42` is none of p50"),
        ] {
            let error = parse(watch).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
