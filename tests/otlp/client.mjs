// Sends metrics of every kind with OpenTelemetry's SDK: client.mjs proto|json|grpc ENDPOINT cumulative|delta TOKEN.
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AggregationTemporality, AggregationType, MeterProvider, PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { Metadata } from '@grpc/grpc-js';
import * as grpc from '@opentelemetry/exporter-metrics-otlp-grpc';
import * as json from '@opentelemetry/exporter-metrics-otlp-http';
import * as proto from '@opentelemetry/exporter-metrics-otlp-proto';

const [way, endpoint, temporality, token] = process.argv.slice(2);
const temporalityPreference =
  temporality === 'delta' ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE;

function exporter() {
  if (way === 'grpc') {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    return new grpc.OTLPMetricExporter({ url: `http://${endpoint}`, metadata, temporalityPreference });
  }
  const options = {
    url: `http://${endpoint}/v1/metrics`,
    headers: { authorization: `Bearer ${token}` },
    compression: CompressionAlgorithm.GZIP,
    temporalityPreference,
  };
  return new (way === 'json' ? json : proto).OTLPMetricExporter(options);
}

const provider = new MeterProvider({
  resource: resourceFromAttributes({
    'service.name': `js-${way}-${temporality}`, 'service.instance.id': 'one', 'deployment.environment': 'lab',
  }),
  views: [{
    instrumentName: '*.exponential', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM },
  }],
  readers: [new PeriodicExportingMetricReader({
    exporter: exporter(), exportIntervalMillis: 3_600_000, exportTimeoutMillis: 10_000,
  })],
});
const meter = provider.getMeter('shop', '1.2');
const requests = meter.createCounter('js.requests', { unit: '{request}' });
const items = meter.createUpDownCounter('js.items');
const duration = meter.createHistogram('js.duration', { unit: 's' });
const exponential = meter.createHistogram('js.exponential', { unit: 'By' });
meter.createObservableGauge('js.load', { unit: '1' }).addCallback((result) => result.observe(0.25, { core: 1 }));
for (let i = 0; i < 3; i += 1) {
  requests.add(2, { 'http.method': 'GET', 'http.status_code': 200 });
  items.add(5);
  items.add(-2);
  duration.record(0.3);
  exponential.record(100);
  exponential.record(0);
  // Three exports: a delta must add up, a cumulative one must not.
  await provider.forceFlush();
}
await provider.shutdown();
