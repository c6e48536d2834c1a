// For config files and local plugins: `import { defineConfig } from 'posthorn'`.
export * from '@posthorn/core'
