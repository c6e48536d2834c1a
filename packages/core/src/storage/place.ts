// Where this server keeps its data. Core provides it, so that plugins which own files need no option for it.
import { token } from '../token.ts'

export interface Place {
  /** The data folder: absolute, 0700, exists. */
  readonly data: string
}

export const Place = token<Place>('core/place')
