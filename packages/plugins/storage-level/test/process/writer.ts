// A server in miniature, to be killed: writes numbered batches and says which ones it acknowledged.
// writer.ts <store> <writers> <octets>; prints `open`, `ack <n>`, `refused <kind>`.
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Op, StorageError } from '@posthorn/core'
import { LevelStorage } from '../../src/level.ts'

const [path, writers, octets] = process.argv.slice(2) as [string, string, string]
const say = (line: string) => writeSync(1, `${line}\n`)
const storage = await LevelStorage.open({ path })
say('open')

let next = 0
async function write(): Promise<never> {
  for (;;) {
    const n = next++
    const ops: Op[] = [
      { type: 'put', key: `m/${n}`, value: Buffer.alloc(Number(octets), `${n} `) },
      { type: 'put', key: `r/${n}`, value: Buffer.from(`${n}`) },
    ]
    try {
      await storage.write(ops)
      say(`ack ${n}`)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      say(`refused ${error.kind}`)
      await sleep(5)
    }
  }
}
await Promise.all(Array.from({ length: Number(writers) }, write))
