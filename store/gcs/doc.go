// Package gcs keeps objects in a bucket of Google Cloud Storage.
//
// Importing it registers gs://bucket/prefix. Credentials are the application default ones, looked for where Google's tools
// look for them: the file that GOOGLE_APPLICATION_CREDENTIALS names (of a service account, or of a workload
// identity), those of gcloud auth application-default login, those of the machine, the pod or the function.
// STORAGE_EMULATOR_HOST leads to an emulator, without credentials.
//
// An object is created with the precondition ifGenerationMatch=0, so of two writers of one name one wins. Uploads carry
// CRC32C, so a body that was damaged on its way is refused. Objects of more than 8 MiB go up through a resumable session, in
// chunks of 16 MiB, and appear with the last. The JSON interface is used; gRPC is linked by the SDK and never dialled.
package gcs
