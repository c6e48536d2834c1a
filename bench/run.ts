// npm run bench -- <name> [--rounds n] [--scale x] [--only a,b] [--case x,y] [--json file]

import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import type { Bench } from './bench.ts'
import { stopAll } from './contender.ts'

/** Loaded when asked for, so that one bench never waits for what another needs. */
const benches: Record<string, () => Promise<{ bench: Bench }>> = {
  accept: () => import('./accept.ts'),
  relay: () => import('./relay.ts'),
  hooks: () => import('./hooks.ts'),
  body: () => import('./body.ts'),
  inbound: () => import('./inbound.ts'),
  queue: () => import('./queue.ts'),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    scale: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    case: { type: 'string', default: '' },
    json: { type: 'string' },
  },
})

const name = positionals[0] ?? ''
const load = benches[name]
if (load === undefined || positionals.length !== 1 || !(Number(values.rounds) >= 1) || !(Number(values.scale) > 0)) {
  const lines = await Promise.all(
    Object.entries(benches).map(async ([name, load]) => `  ${name.padEnd(8)}  ${(await load()).bench.summary}`),
  )
  console.error(
    `npm run bench -- <name> [--rounds 3] [--scale 1] [--only posthorn,postfix] [--case x,y] [--json file]\n${lines.join('\n')}`,
  )
  process.exit(64)
}

/** Settles when the servers of an interrupted bench are stopped; the bench itself then fails, which is no news. */
let interrupted: Promise<unknown> | undefined
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    interrupted = stopAll().finally(() => process.exit(code))
  })
}

const { bench } = await load()
const began = new Date()
const {
  text,
  data,
  failed = [],
} = await bench
  .run({
    rounds: Number(values.rounds),
    scale: Number(values.scale),
    only: values.only.split(',').filter(Boolean),
    cases: values.case.split(',').filter(Boolean),
    say: line => console.error(line),
  })
  .catch(async (error: unknown) => {
    await interrupted
    throw error
  })
const machine = {
  cpus: cpus().length,
  model: cpus()[0]?.model,
  memory: totalmem(),
  node: process.version,
  date: began.toISOString(),
}
console.log(`\n${text}\n${machine.cpus} CPUs, Node ${machine.node}, medians of ${values.rounds} rounds`)
if (values.json !== undefined) {
  mkdirSync(dirname(values.json), { recursive: true })
  writeFileSync(values.json, `${JSON.stringify({ bench: name, machine, failed, ...data }, null, 2)}\n`)
}
for (const what of failed) console.error(`FAILED: ${what}`)
process.exitCode = failed.length === 0 ? 0 : 1
