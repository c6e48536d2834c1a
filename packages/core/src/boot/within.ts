import type { Clock } from '../clock.ts'
import { PosthornError } from '../errors.ts'

/** What `work` gives, or POSTHORN_TIMED_OUT after `ms`; what it gives or throws later is dropped. */
export function within<T>(clock: Clock, ms: number, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => {
      reject(new PosthornError('POSTHORN_TIMED_OUT', `did not finish in ${Math.round(ms / 1000)} seconds`))
    })
    work().then(
      value => {
        cancel()
        resolve(value)
      },
      (error: unknown) => {
        cancel()
        reject(error)
      },
    )
  })
}
