import { PosthornError, PosthornErrors } from '../errors.ts'
import type { ControlFault } from './contract.ts'

/** An error as a client may see it. What is not ours says nothing: its message may hold anything. */
export function toFault(error: unknown): ControlFault {
  if (!(error instanceof PosthornError)) {
    return { code: 'POSTHORN_INTERNAL', message: 'the server failed at this', fix: 'See its log.' }
  }
  return {
    code: error.code,
    message: error.message,
    ...(error.fix === undefined ? {} : { fix: error.fix }),
    ...(error.at === undefined ? {} : { at: error.at }),
    ...(error instanceof PosthornErrors ? { errors: error.errors.map(toFault) } : {}),
  }
}

/** The error that a fault was. */
export function fromFault(fault: ControlFault): PosthornError {
  if (fault.errors !== undefined) return new PosthornErrors(fault.code, fault.message, fault.errors.map(fromFault))
  return new PosthornError(fault.code, fault.message, {
    ...(fault.fix === undefined ? {} : { fix: fault.fix }),
    ...(fault.at === undefined ? {} : { at: fault.at }),
  })
}
