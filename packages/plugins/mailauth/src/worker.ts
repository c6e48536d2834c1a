// The worker's door: takes jobs, gives each its resolver, and says when chunks are taken and jobs done. Everything that
// a stranger's octets can make slow runs behind it.
import { parentPort } from 'node:worker_threads'
import { checkSpf } from './spf.ts'
import { Verification } from './verify.ts'
import type { Answer, AskedType, FromWorker, Purpose, ToWorker } from './wire.ts'

const port = parentPort
if (port === null) throw new Error('mailauth/worker is started by mailauth')

/** What is said in one turn of the loop goes as one message: crossing costs more than what it carries. */
let outbox: FromWorker[] = []
function say(message: FromWorker): void {
  if (outbox.push(message) > 1) return
  setImmediate(() => {
    const all = outbox
    outbox = []
    port?.postMessage(all)
  })
}
const asked = new Map<number, (answer: Answer) => void>()
const running = new Map<number, Verification>()
/** Work of a job in order: its octets are hashed one chunk after another. */
const turns = new Map<number, Promise<unknown>>()
let asks = 0

/** Asks the main thread, which has the cache and counts the questions. */
const resolverOf = (job: number) => (name: string, type: AskedType, purpose: Purpose) =>
  new Promise<Answer>(resolve => {
    const ask = asks++
    asked.set(ask, resolve)
    say({ is: 'ask', job, ask, name, type, purpose })
  })

port.on('message', (messages: readonly ToWorker[]) => {
  for (const message of messages) {
    switch (message.do) {
      case 'answer':
        asked.get(message.ask)?.(message.answer)
        asked.delete(message.ask)
        break
      case 'ping':
        say({ is: 'alive' })
        break
      case 'spf':
        inTurn(message.job, async () => {
          const outcome = await checkSpf(message.spf, resolverOf(message.job))
          say({ is: 'done', job: message.job, outcome })
          turns.delete(message.job)
        })
        break
      case 'verify':
        running.set(message.job, new Verification(message.verify, resolverOf(message.job)))
        break
      case 'data':
        inTurn(message.job, async () => {
          await running.get(message.job)?.write(message.bytes)
          if (message.more) say({ is: 'taken', job: message.job })
        })
        break
      case 'end':
        inTurn(message.job, async () => {
          const outcome = await running.get(message.job)?.end()
          if (outcome !== undefined) say({ is: 'done', job: message.job, outcome })
          forget(message.job)
        })
        break
      case 'drop':
        forget(message.job)
    }
  }
})

function inTurn(job: number, work: () => Promise<void>): void {
  const turn = (turns.get(job) ?? Promise.resolve()).then(work).catch((error: unknown) => {
    say({ is: 'failed', job, why: error instanceof Error ? error.message : String(error) })
    forget(job)
  })
  turns.set(job, turn)
}

function forget(job: number): void {
  running.delete(job)
  turns.delete(job)
}

// Each job awaits what it needs: a promise that the library forgot concerns nobody, and must not end a worker.
process.on('unhandledRejection', error => say({ is: 'stray', why: String(error) }))

say({ is: 'alive' })
