// The four next hops of the suite and their tempers: one steady, one moody, one strict, one away at times.
import type { Ledger } from './ledger.ts'
import { arrived } from './letters.ts'
import { type Mood, Sink, type SinkEvents, type Temper } from './sink.ts'

export interface Hops {
  readonly sinks: Readonly<Record<'a.test' | 'b.test' | 'c.test' | 'd.test', Sink>>
  readonly relays: Readonly<Record<string, number>>
  calm(): Promise<void>
  close(): Promise<void>
}

/** `faults: false`: all of them take what they will take in the end at once. */
export async function openHops(ledger: Ledger, random: () => number, faults = true): Promise<Hops> {
  const events: SinkEvents = {
    took({ message, to }, now) {
      const what = arrived(message)
      if (what.n === undefined) ledger.report(message, now)
      return ledger.took(what, to, now)
    },
    refused: (n, address) => ledger.refused(n, address, Date.now()),
    unread: (items, replied, now) => ledger.unread(items, replied, now),
  }
  const take = (): Mood => 'take'
  const chance = (share: number, mood: Mood): Mood => (faults && random() < share ? mood : 'take')
  const first = (...moods: Mood[]): Mood => moods.find(mood => mood !== 'take') ?? 'take'
  const delay = () => (faults ? random() * 25 : 0)
  const tempers: Record<keyof Hops['sinks'], Temper> = {
    'a.test': { dsn: false, chunking: false, delay, rcpt: take, dot: take },
    'b.test': {
      dsn: true,
      chunking: false,
      delay,
      rcpt: () => first(chance(0.002, 'farewell'), chance(0.15, 'defer')),
      dot: () => first(chance(0.02, 'cut'), chance(0.05, 'defer')),
    },
    'c.test': {
      dsn: true,
      chunking: true,
      delay,
      rcpt: address => (address.startsWith('no') ? 'refuse' : 'take'),
      dot: n => (n !== undefined && n % 23 === 0 ? 'refuse' : 'take'),
    },
    'd.test': { dsn: true, chunking: true, delay: () => 0, rcpt: () => chance(0.05, 'defer'), dot: take },
  }
  const sinks = {} as Record<keyof Hops['sinks'], Sink>
  for (const [domain, temper] of Object.entries(tempers) as [keyof Hops['sinks'], Temper][]) {
    sinks[domain] = new Sink(temper, events)
    await sinks[domain].open()
  }
  const all = Object.values(sinks)
  return {
    sinks,
    relays: Object.fromEntries(Object.entries(sinks).map(([domain, sink]) => [domain, sink.port])),
    async calm() {
      for (const sink of all) {
        sink.calm = true
        if (!sink.listening) await sink.open()
      }
    },
    async close() {
      for (const sink of all) if (sink.listening) await sink.close()
    },
  }
}
