// What plugins want published in the DNS of our domains: each says it, `posthorn dns` prints and checks it.
import { token } from '../token.ts'
import type { DnsType } from './contract.ts'

/** One record to publish. */
export interface DnsRecord {
  /** Absolute, without the final dot. */
  readonly name: string
  readonly type: DnsType
  /** As in a zone file: `10 mail.example.org.`; of TXT the plain text, without quotes and in one piece. */
  readonly value: string
  /** What it is for, to whoever has to publish it: one sentence. */
  readonly why: string
  /** Worth having, but nothing is wrong without it. */
  readonly advice?: true
}

/** What one plugin has to say. */
export interface DnsContribution {
  /** The plugin's name (`Setup.name`): after a reload, what the new one says replaces what the old one said. */
  readonly from: string
  /** Domains that are ours, in A-label form. */
  domains?(): readonly string[]
  /** Records of one of them. A rejection is told, and the other records are printed all the same. */
  records?(domain: string): Promise<readonly DnsRecord[]>
}

/** The registry of the process. In `setup`: `onDispose(services.advice.add({ from: name, records }))`. */
export interface DnsAdvice {
  /** The returned function takes it back. */
  add(contribution: DnsContribution): () => void
}

export const DnsAdvice = token<DnsAdvice>('core/dns-advice')

export class DnsAdviceRegistry implements DnsAdvice {
  readonly #all = new Set<DnsContribution>()

  add(contribution: DnsContribution): () => void {
    this.#all.add(contribution)
    return () => this.#all.delete(contribution)
  }

  /** The newest of each plugin, in the order of `plugins`: an ending generation has still its own. */
  of(plugins: readonly string[]): readonly DnsContribution[] {
    const newest = new Map([...this.#all].map(one => [one.from, one]))
    return plugins.flatMap(name => newest.get(name) ?? [])
  }
}
