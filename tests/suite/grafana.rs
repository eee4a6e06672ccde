//! What is shipped for Grafana: dashboards that its linter has nothing to say against, of which each query brings
//! data from a real Prometheus that scrapes real exporters, and the files that provision them.

mod board;
mod lint;
mod live;
mod promql;
mod provision;
