// What plugins asked to change: recorded with whose it is and for which targets, applied once, in plugin order.
import type { Mailbox, MailParams } from '@posthorn/mail'
import { claimsAuthserv, foldField, formatAddress, type Header, unfold } from '@posthorn/mail'

type Change =
  | { readonly kind: 'prepend'; readonly header: string; readonly field: string }
  | { readonly kind: 'replace'; readonly header: string; readonly nth: number; readonly field: string | null }
  | { readonly kind: 'strip'; readonly header: string; readonly authservId?: string; readonly contains?: string }
  | { readonly kind: 'from'; readonly from: Mailbox | null }
  | { readonly kind: 'junk' | 'hold'; readonly reason: string }

/** One recorded edit. `targets` absent: for all. `rank`: its plugin's place in the config; core's own come first. */
export interface Edit {
  readonly plugin: string
  readonly rank: number
  readonly targets?: ReadonlySet<string>
  readonly change: Change
}

/** The changes a hook may record; each is checked here, so that a bad one throws in the hook that made it. */
export const changes = {
  prepend(header: string, value: string, params: MailParams): Change {
    return { kind: 'prepend', header, field: foldField(header, value, { utf8: params.smtputf8 }) }
  },
  replace(header: string, nth: number, value: string | null, params: MailParams): Change {
    const field = value === null ? null : foldField(header, value, { utf8: params.smtputf8 })
    return { kind: 'replace', header, nth, field }
  },
  strip(header: string, match: { readonly authservId: string } | { readonly contains: string }): Change {
    return { kind: 'strip', header, ...match }
  },
  from: (from: Mailbox | null): Change => ({ kind: 'from', from }),
  junk: (reason: string): Change => ({ kind: 'junk', reason }),
  hold: (reason: string): Change => ({ kind: 'hold', reason }),
}

/** An edit in one line, for the trace. */
export function describeEdit({ change, targets }: Edit): string {
  const scope = targets === undefined ? '' : ` for ${targets.size} target${targets.size === 1 ? '' : 's'}`
  switch (change.kind) {
    case 'prepend':
      return `prepend ${change.header}${scope}`
    case 'replace':
      return `${change.field === null ? 'remove' : 'replace'} ${change.header}[${change.nth}]${scope}`
    case 'strip':
      return `strip ${change.header} ${change.authservId ?? `*${change.contains}*`}${scope}`
    case 'from':
      return `reverse-path <${change.from === null ? '' : formatAddress(change.from)}>${scope}`
    default:
      return `${change.kind}: ${change.reason}${scope}`
  }
}

/** What a set of edits makes of a message. */
export interface Applied {
  readonly from: Mailbox | null
  readonly head: string
  readonly skip: readonly (readonly [number, number])[]
  readonly junk?: string
  readonly hold?: string
}

/**
 * Applies edits, sorted by plugin, to a message received with `header` and `from`. Removed fields are skipped whole, so
 * the received octets stay as they are. `trace` is our own Received: what
 * plugins prepend stands above it, what they replace below.
 */
export function applyEdits(edits: readonly Edit[], header: Header, from: Mailbox | null, trace: string): Applied {
  const gap = separator(header)
  if (edits.length === 0) return { from, head: trace + gap, skip: [] }
  let above = ''
  let reversePath = from
  let junk: string | undefined
  let hold: string | undefined
  const removed = new Map<number, number>()
  const replaced = new Map<number, string>()
  for (const { change } of edits) {
    switch (change.kind) {
      case 'prepend':
        above = change.field + above
        break
      case 'replace': {
        const name = change.header.toLowerCase()
        const field = header.fields.filter(f => f.name === name)[change.nth]
        if (field === undefined) break
        removed.set(field.start, field.end)
        if (change.field === null) replaced.delete(field.start)
        else replaced.set(field.start, change.field)
        break
      }
      case 'strip': {
        const name = change.header.toLowerCase()
        for (const field of header.fields) {
          if (field.name !== name) continue
          const value = unfold(header.bytes, field)
          const hit =
            change.authservId !== undefined
              ? claimsAuthserv(value, change.authservId)
              : value.toLowerCase().includes((change.contains ?? '').toLowerCase())
          if (hit) {
            removed.set(field.start, field.end)
            replaced.delete(field.start)
          }
        }
        break
      }
      case 'from':
        reversePath = change.from
        break
      case 'junk':
        junk ??= change.reason
        break
      case 'hold':
        hold ??= change.reason
    }
  }
  const below = [...replaced].sort(([a], [b]) => a - b).map(([, field]) => field)
  return {
    from: reversePath,
    head: above + trace + below.join('') + gap,
    skip: [...removed].sort(([a], [b]) => a - b),
    ...(junk === undefined ? {} : { junk }),
    ...(hold === undefined ? {} : { hold }),
  }
}

/** Text that came without a header would read as the end of our last field: an empty line parts them. */
function separator({ fields, bytes }: Header): string {
  const [first, second] = bytes
  const empty = bytes.length === 0 || first === 0x0a || (first === 0x0d && second === 0x0a)
  return fields.length > 0 || empty ? '' : '\r\n'
}

/** Sorts by plugin, keeping each plugin's own order. */
export function inPluginOrder(edits: readonly Edit[]): readonly Edit[] {
  return edits.length < 2 ? edits : [...edits].sort((a, b) => a.rank - b.rank)
}

/** Groups targets whose edits are equal: the variants. The common message has one, found without looking at targets. */
export function groupByEdits<T extends { readonly id: string }>(
  edits: readonly Edit[],
  targets: readonly T[],
): readonly { readonly edits: readonly Edit[]; readonly targets: readonly T[] }[] {
  if (!edits.some(e => e.targets !== undefined)) return [{ edits, targets }]
  const groups = new Map<string, { edits: Edit[]; targets: T[] }>()
  for (const target of targets) {
    const own: Edit[] = []
    let key = ''
    edits.forEach((edit, i) => {
      if (edit.targets !== undefined && !edit.targets.has(target.id)) return
      own.push(edit)
      key += `${i},`
    })
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { edits: own, targets: [target] })
    else group.targets.push(target)
  }
  return [...groups.values()]
}
