// Validates objects of the Prometheus Operator, a line of JSON each, against its published schemas.
import { createInterface } from 'node:readline'

let failed = false
let count = 0
for await (const line of createInterface({ input: process.stdin })) {
  const object = JSON.parse(line)
  const kind = (await import(`@kubernetes-models/prometheus-operator/${object.apiVersion}/${object.kind}`))[object.kind]
  count += 1
  try {
    new kind(object).validate()
  } catch (error) {
    failed = true
    console.error(`${object.kind} ${object.metadata.name}: ${error.message}`)
  }
}
console.log(`${count} objects of the Operator`)
process.exit(failed || count === 0 ? 1 : 0)
