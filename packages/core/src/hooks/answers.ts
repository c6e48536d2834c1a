// What each stage understands as an answer. Anything else is nonsense and becomes the stage's temporary failure: a
// plugin in JavaScript gets the same rules at run time that TypeScript gives the others at compile time.
import type { StageName } from '../plugin.ts'
import type { PassedOn, Verdict } from '../verdict.ts'

export const deferCodes: ReadonlySet<number> = new Set([421, 450, 451, 452, 454, 455])
export const rejectCodes: ReadonlySet<number> = new Set([521, 530, 535, 550, 551, 552, 553, 554, 556])
// RFC 3463 §2.
export const deferEnhanced = /^4\.\d{1,3}\.\d{1,3}$/
export const rejectEnhanced = /^5\.\d{1,3}\.\d{1,3}$/
const oneLine = /^[^\p{Cc}]+$/u

type Fields = { readonly [name: string]: unknown }
const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined

/** Says what is wrong with an answer, or nothing. `undefined` answers (no objection) are never asked about. */
export type AnswerCheck = (value: unknown) => string | undefined

/** What is wrong with a would-be verdict; also for what crossed a thread. */
export function wrongVerdict(value: unknown): string | undefined {
  const fields = fieldsOf(value)
  if (fields === undefined) return `${shown(value)} is not a verdict`
  switch (fields.kind) {
    case 'discard':
      return typeof fields.reason === 'string' ? undefined : 'a discard without a reason'
    case 'defer':
      return wrongRefusal(fields, deferCodes, deferEnhanced)
    case 'reject':
      return wrongRefusal(fields, rejectCodes, rejectEnhanced)
    default:
      return `${shown(value)} is not a verdict`
  }
}

function wrongRefusal(fields: Fields, codes: ReadonlySet<number>, enhanced: RegExp): string | undefined {
  if (!codes.has(fields.code as number)) return `${String(fields.kind)} with code ${shown(fields.code)}`
  if (typeof fields.enhanced !== 'string' || !enhanced.test(fields.enhanced)) {
    return `${String(fields.kind)} ${String(fields.code)} with enhanced code ${shown(fields.enhanced)}`
  }
  // A text with a line break would write the next reply itself.
  if (typeof fields.text !== 'string' || !oneLine.test(fields.text)) {
    return `${String(fields.kind)} ${String(fields.code)} with a text that is not one line`
  }
  return undefined
}

const wrongSessionVerdict: AnswerCheck = value =>
  fieldsOf(value)?.kind === 'discard' ? 'a session cannot be discarded' : wrongVerdict(value)

function wrongPassedOn(fields: Fields): string | undefined {
  const reply = fieldsOf(fields.reply)
  if (reply === undefined || !Array.isArray(reply.lines)) return 'a passed-on answer without a reply'
  const code = reply.code
  const final = typeof code === 'number' && ((code >= 200 && code < 300) || (code >= 400 && code < 600))
  if (!final || !Number.isInteger(code)) return `a passed-on reply with code ${shown(code)}`
  return reply.lines.every(line => typeof line === 'string') ? undefined : 'a passed-on reply whose lines are not text'
}

const isPassedOn = (value: unknown): value is PassedOn => fieldsOf(value)?.kind === 'passed-on'

function wrongEach(each: ReadonlyMap<unknown, unknown>, wrong: AnswerCheck): string | undefined {
  for (const [id, value] of each) {
    if (typeof id !== 'string') return `an answer for ${shown(id)}, which is no target's id`
    const problem = wrong(value)
    if (problem !== undefined) return problem
  }
  return undefined
}

const wrongCustody: AnswerCheck = value => (isPassedOn(value) ? wrongPassedOn(value as never) : wrongVerdict(value))

const isMailbox = (value: unknown): boolean => {
  const fields = fieldsOf(value)
  return typeof fields?.local === 'string' && typeof fields.domain === 'string' && typeof fields.raw === 'string'
}

function wrongResolution(value: unknown): string | undefined {
  const fields = fieldsOf(value)
  if (fields === undefined || fields.kind !== undefined) return wrongSessionVerdict(value)
  if (!Array.isArray(fields.to)) return 'a resolution without `to`'
  if (!fields.to.every(isMailbox)) return 'a resolution to what is no mailbox'
  if (fields.list !== undefined && !isMailbox(fieldsOf(fields.list)?.from)) return 'a list without a return address'
  return undefined
}

function wrongLogIn(value: unknown): string | undefined {
  const fields = fieldsOf(value)
  if (fields === undefined || fields.kind !== undefined) return wrongSessionVerdict(value)
  if (typeof fields.user !== 'string' || fields.user === '') return 'a log-in without a user'
  const scopes = fields.scopes
  const listed = scopes === undefined || (Array.isArray(scopes) && scopes.every(scope => typeof scope === 'string'))
  return listed ? undefined : 'a log-in whose scopes are not a list of names'
}

function wrongSeal(value: unknown): string | undefined {
  const pair = (field: unknown) =>
    Array.isArray(field) && field.length === 2 && typeof field[0] === 'string' && typeof field[1] === 'string'
  return Array.isArray(value) && value.every(pair) ? undefined : `${shown(value)} is not a list of header fields`
}

const anything: AnswerCheck = () => undefined

/** By stage; `end` is a tap's answer at the dot. */
export const answers: Readonly<Record<StageName | 'end', AnswerCheck>> = {
  connect: wrongSessionVerdict,
  helo: wrongSessionVerdict,
  auth: wrongLogIn,
  mail: wrongVerdict,
  resolve: wrongResolution,
  rcpt: value => (value === 'accept' ? undefined : wrongCustody(value)),
  data(value) {
    const fields = fieldsOf(value)
    if (fields === undefined || typeof fields.kind === 'string') return wrongVerdict(value)
    if (typeof fields.end !== 'function') return 'a tap without `end`'
    return fields.write === undefined || typeof fields.write === 'function'
      ? undefined
      : 'a tap whose `write` is no function'
  },
  end: value => (value instanceof Map ? wrongEach(value, wrongVerdict) : wrongVerdict(value)),
  seal: wrongSeal,
  queue: value => (value instanceof Map ? wrongEach(value, wrongCustody) : wrongCustody(value)),
  answered: anything,
  outcome: anything,
  closed: anything,
  ready: anything,
  drain: anything,
}

export const isVerdict = (value: unknown): value is Verdict => {
  const kind = fieldsOf(value)?.kind
  return kind === 'reject' || kind === 'defer' || kind === 'discard'
}

export { isPassedOn }

/** Enough of a value to recognise it in a log line; never its contents, which may be a secret. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value.length <= 20 ? JSON.stringify(value) : 'a string'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return String(value)
}
