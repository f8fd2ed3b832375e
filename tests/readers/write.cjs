// Write a folder as node's `tar` does: node write.cjs MODULES FOLDER OUT
const { createRequire } = require('module')

const [modules, folder, out] = process.argv.slice(2)
const tar = createRequire(modules + '/')('tar')
tar.c({ cwd: folder, file: out, sync: true }, ['.'])
