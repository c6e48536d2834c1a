export type { MemoryBlobs } from './memory-blobs.ts'
export { memoryBlobs } from './memory-blobs.ts'
export { MemoryStorage, memoryStorage } from './memory-storage.ts'
