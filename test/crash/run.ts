// The crash suite: kills, power cuts, and the order of syncs and replies. Exits with 1 where anything was lost.
//   run.ts [--short] [--only kill|power|order] [--seed n] [--kills n] [--cuts n]
import { parseArgs } from 'node:util'
import { type KillFigures, killRuns } from './kill.ts'
import { type PowerFigures, powerCuts } from './power.ts'
import { straceLacks } from './strace.ts'
import { type OrderFigures, syncOrder } from './sync-order.ts'

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string' },
    seed: { type: 'string' },
    kills: { type: 'string' },
    cuts: { type: 'string' },
  },
})
const seed = Number(values.seed ?? Date.now() % 1_000_000)
const say = (line: string) => process.stdout.write(`${line}\n`)
const wanted = (mode: string) => values.only === undefined || values.only === mode
let failed = false

function judge(name: string, faults: readonly string[]): void {
  for (const fault of faults.slice(0, 30)) say(`  ${name}: ${fault}`)
  if (faults.length > 30) say(`  ${name}: and ${faults.length - 30} more`)
  if (faults.length > 0) failed = true
}

function killReport(figures: KillFigures): void {
  const { lost, wrong, fsck, replies, unrecorded, ...counts } = figures
  say(`kill: ${JSON.stringify(counts)}`)
  say(`kill: replies ${JSON.stringify(replies)}`)
  say(
    `kill: ${counts.duplicates} duplicates, ${counts.outstanding} deliveries outstanding at a cut; ${unrecorded.count} of ` +
      `deliveries whose reply had been read: ${unrecorded.fullDisk} of them with the disk full, the others at most ` +
      `${unrecorded.longest} ms before a kill`,
  )
  say(`kill: lost ${lost.length}`)
  judge('lost', lost)
  judge('wrong', wrong)
  judge('fsck', fsck)
  if (counts.duplicates > counts.outstanding) judge('duplicates', ['more than were outstanding'])
}

function powerReport({ lost, wrong, ...counts }: PowerFigures): void {
  say(`power: ${JSON.stringify(counts)}`)
  say(`power: lost ${lost.length}`)
  judge('lost', lost)
  judge('wrong', wrong)
}

function orderReport({ early, ...counts }: OrderFigures, mostSyncs: number): void {
  say(`order: ${JSON.stringify(counts)}`)
  judge('early', early)
  if (counts.syncsPerMessage > mostSyncs) judge('syncs', [`more than ${mostSyncs} for a message`])
}

say(`seed ${seed}`)
const lacks = await straceLacks()
if (lacks !== undefined) say(`power cuts and the order of syncs are skipped: ${lacks}`)

if (wanted('order') && lacks === undefined) {
  say('== order')
  orderReport(await syncOrder(values.short ? 1000 : 4000), 0.3)
  // A file of its own costs syncs of its own.
  orderReport(await syncOrder(400, 4), Infinity)
}
if (wanted('kill')) {
  say('== kill')
  killReport(await killRuns({ seed, kills: Number(values.kills ?? (values.short ? 15 : 200)), say }))
}
if (wanted('power') && lacks === undefined) {
  say('== power')
  powerReport(await powerCuts({ seed, cuts: Number(values.cuts ?? (values.short ? 60 : 1000)), say }))
}
say(failed ? `failed; again with --seed ${seed}` : 'nothing was lost')
process.exit(failed ? 1 : 0)
