// A target as delivery and `seal` see it: plain values, its state as committed.
import type { DeliveryTarget } from '../delivery.ts'
import type { Id } from '../envelope.ts'
import { PosthornError } from '../errors.ts'
import type { Json } from '../json.ts'
import type { AcceptedTarget } from '../queue/contract.ts'
import type { State } from '../state.ts'

export function deliveryTarget(target: Omit<AcceptedTarget, 'ended'>): DeliveryTarget {
  const { id, address, original, notify, orcpt, state } = target
  return {
    id: id as Id,
    address,
    state: committedState(state),
    ...(original === undefined ? {} : { original }),
    ...(notify === undefined ? {} : { notify }),
    ...(orcpt === undefined ? {} : { orcpt }),
  }
}

function committedState(values: Readonly<Record<string, Json>>): State<'recipient'> {
  for (const _ in values) return new CommittedState(values)
  return empty
}

class CommittedState implements State<'recipient'> {
  readonly #values: Readonly<Record<string, Json>>

  constructor(values: Readonly<Record<string, Json>>) {
    this.#values = values
  }
  get<T>(key: { readonly name: string }): T | undefined {
    return this.#values[key.name] as T | undefined
  }
  set(key: { readonly name: string }): never {
    throw new PosthornError('POSTHORN_STATE_COMMITTED', `state ${key.name} was set after the message was committed`, {
      fix: 'Set recipient state in rcpt, data or a tap.',
    })
  }
}

const empty = new CommittedState({})
