// Record data as zone files write it, for people, JSON and comparisons.
import type { DnsData, DnsType } from './contract.ts'

/** `10 mail.example.org.`; names with their final dot, TXT as plain text. */
export function presentRecord<T extends DnsType>(type: T, data: DnsData[T]): string {
  const value = data as unknown
  switch (type as DnsType) {
    case 'MX': {
      const { preference, exchange } = value as DnsData['MX']
      return `${preference} ${exchange}.`
    }
    case 'SRV': {
      const { priority, weight, port, target } = value as DnsData['SRV']
      return `${priority} ${weight} ${port} ${target}.`
    }
    case 'TLSA': {
      const { usage, selector, matching, data: octets } = value as DnsData['TLSA']
      return `${usage} ${selector} ${matching} ${Buffer.from(octets).toString('hex')}`
    }
    case 'CAA': {
      const { critical, tag, value: text } = value as DnsData['CAA']
      return `${critical ? 128 : 0} ${tag} "${text}"`
    }
    case 'SOA': {
      const { mname, rname, serial, minimum } = value as DnsData['SOA']
      return `${mname}. ${rname}. ${serial} ${minimum}`
    }
    case 'PTR':
    case 'CNAME':
    case 'NS':
      return `${value as string}.`
    default:
      return value as string
  }
}
