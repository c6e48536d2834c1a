// How many connections there may be: in all, on one listener, from one address.
import { formatReply } from '@posthorn/mail'
import type { ListenerConfig } from '../config/contract.ts'
import { tooBusy, tooManyFromYou } from './replies.ts'

export class Admission {
  /** Connections of all listeners. */
  limit: number
  total = 0
  readonly #perListener = new Map<string, number>()
  readonly #perIp = new Map<string, number>()

  constructor(limit: number) {
    this.limit = limit
  }

  /** Counts a connection, or gives the line that refuses it, which is not counted. '' as of a unix socket has no limit per address. */
  enter({ name, limits }: Pick<ListenerConfig, 'name' | 'limits'>, ip: string): string | undefined {
    const here = this.#perListener.get(name) ?? 0
    if (this.total >= this.limit || here >= limits.connections) return formatReply(tooBusy)
    const fromIp = this.#perIp.get(ip) ?? 0
    if (ip !== '' && fromIp >= limits.connectionsPerIp) return formatReply(tooManyFromYou)
    this.total++
    this.#perListener.set(name, here + 1)
    this.#perIp.set(ip, fromIp + 1)
    return undefined
  }

  leave({ name }: Pick<ListenerConfig, 'name'>, ip: string): void {
    this.total--
    decrement(this.#perListener, name)
    decrement(this.#perIp, ip)
  }

  count(listener: string): number {
    return this.#perListener.get(listener) ?? 0
  }
}

function decrement(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1
  if (left > 0) counts.set(key, left)
  else counts.delete(key)
}
