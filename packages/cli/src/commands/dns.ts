// What to publish in the DNS for our domains, as a zone file; --check holds it against what is published.
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { DnsAdvice, type DnsContribution, PosthornError, silentLog, systemClock } from '@posthorn/core'
import {
  DnsAdviceRegistry,
  type DnsFacts,
  type DnsFound,
  DnsResolver,
  dnsFacts,
  dryPlan,
  loadConfig,
  presentRecord,
} from '@posthorn/core/runtime'
import { canonicalDomain } from '@posthorn/mail'
import { bases } from '../distribution.ts'
import { publicAddresses } from '../dns/addresses.ts'
import { type Checked, checkPlan, type Lookup } from '../dns/check.ts'
import { kindOf, type Plan, planRecords } from '../dns/plan.ts'
import { recordLine, zoneFile } from '../dns/zone-file.ts'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { printable } from '../table.ts'

export interface DnsOptions extends Common, Where {
  readonly check?: boolean
  readonly address?: readonly string[]
}

/** Facts, and somebody to ask: the running server, or what the configuration alone tells. */
interface Source {
  readonly facts: DnsFacts
  readonly lookup: Lookup
}

export async function dns(io: Io, options: DnsOptions, names: readonly string[]): Promise<number> {
  const asked = names.map(domainOf)
  for (const address of options.address ?? []) {
    if (isIP(address) === 0) throw usageError(`${JSON.stringify(address)} is not an IP address`)
  }
  return withSource(io, options, asked, async ({ facts, lookup }) => {
    const domains = asked.length > 0 ? asked : facts.domains
    if (domains.length === 0) throw usageError('no plugin names a domain of ours', 'Name one: posthorn dns example.org')
    const addresses = options.address ?? publicAddresses(facts.listeners, networkInterfaces())
    const plan = planRecords(facts, domains, addresses)
    const checked = options.check === true ? await checkPlan(plan, lookup) : undefined
    if (options.json) io.out(JSON.stringify(report(plan, facts, checked)))
    else {
      for (const note of notes(plan, facts)) io.err(`note: ${printable(note)}`)
      for (const line of checked === undefined ? zoneFile(plan) : verdicts(checked)) io.out(line)
    }
    return checked === undefined ? exit.ok : codeOf(checked)
  })
}

async function withSource(
  io: Io,
  options: DnsOptions,
  asked: readonly string[],
  work: (source: Source) => Promise<number>,
): Promise<number> {
  try {
    return await withServer(io, options, async client =>
      work({
        facts: await client.call<DnsFacts>('dns', { domains: asked }),
        lookup: (name, type) => client.call<DnsFound>('dns.resolve', { name, type }),
      }),
    )
  } catch (error) {
    const alone =
      error instanceof PosthornError && error.code === 'POSTHORN_NOT_RUNNING' && options.socket === undefined
    if (!alone) throw error
  }
  const loaded = await loadConfig({
    cwd: io.cwd,
    bases,
    ...(options.config === undefined ? {} : { file: options.config }),
  })
  const advice = new DnsAdviceRegistry()
  // The plan disposes of what it has set up; what was said is wanted after that.
  const keep: DnsAdvice = {
    add(contribution: DnsContribution) {
      advice.add(contribution)
      return () => {}
    },
  }
  const { plugins } = await dryPlan(loaded, [[DnsAdvice, keep]])
  const facts = await dnsFacts(loaded.config, advice.of(plugins.map(({ name }) => name)), asked)
  const resolver = new DnsResolver({ config: loaded.config.dns, clock: systemClock, log: silentLog })
  try {
    return await work({
      facts,
      async lookup(name, type) {
        const { records, ...answer } = await resolver.resolve(name, type)
        return { ...answer, records: records.map(record => presentRecord(type, record)) }
      },
    })
  } finally {
    resolver.close()
  }
}

function domainOf(name: string): string {
  const domain = canonicalDomain(name.replace(/\.$/, ''))
  if (domain === undefined || domain.startsWith('[')) throw usageError(`${JSON.stringify(name)} is not a domain name`)
  return domain
}

/** What the records cannot say. */
function notes({ hostname, addresses, domains, records }: Plan, { silent }: DnsFacts): string[] {
  const found: string[] = []
  if (!hostname.includes('.'))
    found.push(`hostname is ${hostname}, which nobody else can resolve; set it in the configuration`)
  if (addresses.length === 0) {
    found.push('this machine has no public address: if others reach it through another one, name that with --address')
  }
  for (const domain of domains) {
    if (records.some(one => one.domain === domain && kindOf(one) === 'dkim' && one.advice !== true)) continue
    found.push(`nothing signs mail from ${domain}: list dkim-sign, then run \`posthorn dkim generate ${domain}\``)
  }
  for (const { from, reason } of silent) found.push(`${from} could not say what it wants published: ${reason}`)
  return found
}

const differs = ({ verdict }: Checked) => verdict === 'missing' || verdict === 'differs'
const open = ({ verdict }: Checked) => verdict === 'unknown'

function codeOf(checked: readonly Checked[]): number {
  return checked.some(differs) ? exit.differs : checked.some(open) ? exit.busy : exit.ok
}

function report(plan: Plan, { silent }: DnsFacts, checked: readonly Checked[] | undefined) {
  const { hostname, domains, addresses, records } = plan
  return {
    hostname,
    domains,
    addresses,
    records:
      checked?.map(({ record, verdict, found, text }) => ({
        ...record,
        verdict,
        found,
        ...(text === '' ? {} : { text }),
      })) ?? records,
    silent,
    ...(checked === undefined
      ? {}
      : { differences: checked.filter(differs).length, unknown: checked.filter(open).length }),
  }
}

const words = { ok: 'ok', missing: 'MISSING', differs: 'DIFFERS', optional: 'optional', unknown: 'UNKNOWN' } as const

/** Each record with its verdict; below it the difference, and what should be there. */
function verdicts(checked: readonly Checked[]): string[] {
  const lines = checked.flatMap(one => [
    `${words[one.verdict].padEnd(8)}  ${one.record.type.padEnd(4)}  ${printable(one.record.name)}`,
    ...(one.text === '' ? [] : [`          ${printable(one.text)}`]),
    ...(differs(one)
      ? recordLine(one.record)
          .split('\n')
          .map(line => `          → ${line}`)
      : []),
  ])
  const count = checked.filter(differs).length
  const unknown = checked.filter(open).length
  const end = [
    count === 0 ? 'No differences' : `${count} ${count === 1 ? 'difference' : 'differences'}`,
    ...(unknown === 0 ? [] : [`${unknown} without an answer`]),
  ]
  return [...lines, `${end.join(', ')}.`]
}
