// The first part of a report, for people: what happened, what the other server said, what to do. English, plain words.
import { formatAddress } from './address.ts'
import { formatDate } from './date.ts'
import type { Report, ReportAction, ReportedRecipient } from './dsn.ts'
import { replyText, statusCode } from './dsn-status.ts'
import type { RemoteReply } from './reply.ts'
import { explainStatus } from './status-words.ts'

const width = 72
const maxText = 4000

const opening: Readonly<Record<ReportAction, string>> = {
  failed: 'Your message could not be delivered to the recipients below. We have given up; nothing more will be tried.',
  delayed: 'Your message has not yet reached the recipients below. We keep trying; you need not send it again.',
  delivered: 'Your message was delivered to the recipients below, as you asked to be told.',
  relayed:
    'Your message was handed to the next mail system for the recipients below. That system does not confirm delivery, so this may be the last you hear of it.',
  expanded: 'Your message reached the addresses below, which stand for several recipients, and was passed on to them.',
}
const order: readonly ReportAction[] = ['failed', 'delayed', 'expanded', 'relayed', 'delivered']

const occasion: Readonly<Record<RemoteReply['phase'], string>> = {
  connect: 'when we connected',
  hello: 'when we introduced ourselves',
  mail: 'when it was told the sender',
  rcpt: 'when it was told this recipient',
  data: 'when the message was announced',
  dot: 'after it had the message',
}

/** `more`: recipients that are counted only. `whole`: the message is attached, not its header alone. */
export function formatText(report: Report, shown: readonly ReportedRecipient[], more: number, whole: boolean): string {
  const lines = [`This is the mail system at ${oneLine(report.reportingMta)}.`, '']
  lines.push(...wrap(`It is about the message that you sent on ${formatDate(report.arrival)}.`, ''), '')
  for (const action of order) {
    const group = shown.filter(recipient => recipient.action === action)
    if (group.length === 0) continue
    lines.push(...wrap(opening[action], ''), '')
    for (const recipient of group) lines.push(...about(recipient), '')
  }
  if (more > 0) lines.push(...wrap(`And ${more} more recipient${more === 1 ? '' : 's'}, not listed here.`, ''), '')
  lines.push(
    ...wrap(`A report for programs and ${whole ? 'your message' : 'the header of your message'} are attached.`, ''),
  )
  const ids = [...new Set(shown.map(recipient => recipient.logId).filter(id => id !== undefined))].slice(0, 5)
  if (ids.length > 0) {
    lines.push(
      '',
      ...wrap(
        `If you need help, forward this whole report to postmaster at ${oneLine(report.reportingMta)} (${ids.map(oneLine).join(', ')}).`,
        '',
      ),
    )
  }
  return `${lines.join('\r\n')}\r\n`
}

function about(recipient: ReportedRecipient): string[] {
  const lines = [`<${oneLine(formatAddress(recipient.address, { utf8: true }))}>`]
  const { remote, diagnostic, text, action } = recipient
  if (text !== undefined) {
    for (const line of text.slice(0, maxText).split(/\r?\n|\r/)) lines.push(...wrap(line, '    '))
    return lines
  }
  if (action === 'failed' || action === 'delayed') {
    const words = explainStatus(statusCode(recipient))
    lines.push(...wrap(words.what, '    '))
    if (remote) {
      lines.push(...wrap(`The server ${remote.host} said, ${occasion[remote.phase]}:`, '    '))
      lines.push(...wrap(replyText(remote), '        '))
    } else if (diagnostic) lines.push(...wrap(`Reason: ${diagnostic}`, '    '))
    if (action === 'delayed') {
      if (recipient.willRetryUntil !== undefined) {
        lines.push(...wrap(`We keep trying until ${formatDate(recipient.willRetryUntil)}.`, '    '))
      }
    } else lines.push(...wrap(`What to do: ${words.advice}`, '    '))
  } else if (remote) {
    lines.push(...wrap(`The server ${remote.host} answered: ${replyText(remote)}`, '    '))
  }
  return lines
}

function wrap(text: string, indent: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of oneLine(text.slice(0, maxText)).split(' ')) {
    // No word is so long that the line breaks RFC 5322 §2.1.1, four octets a character.
    for (const piece of word.match(/.{1,240}/gu) ?? []) {
      if (line !== '' && indent.length + line.length + 1 + piece.length > width) {
        lines.push(indent + line)
        line = ''
      }
      line += line === '' ? piece : ` ${piece}`
    }
  }
  if (line !== '') lines.push(indent + line)
  return lines
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').toWellFormed()
}
