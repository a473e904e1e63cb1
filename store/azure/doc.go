// Package azure keeps objects in a container of Azure Blob Storage, as block blobs.
//
// Importing it registers azblob://container/prefix. The account and the credentials come from the environment:
//
//	AZURE_STORAGE_CONNECTION_STRING   all in one, or
//	AZURE_STORAGE_ACCOUNT             name of the account (or the parameter account of the URL), with one of
//	  AZURE_STORAGE_KEY               its key
//	  AZURE_STORAGE_SAS_TOKEN         a shared access signature
//	  neither                         DefaultAzureCredential: environment, workload identity, managed identity, az login
//	…_FILE                            behind the first, third or fourth name: a file that has the value
//	AZURE_STORAGE_BLOB_ENDPOINT       https://account.blob.core.chinacloudapi.cn and the like, where it isn't the public cloud
//
// They are asked for again whenever the service refuses them (401, 403): a file or variable with another value is found by the next attempt.
//
// A blob is created with If-None-Match: *, so of two writers of one name one wins. Uploads carry Content-MD5, so a
// body that was damaged on its way is refused. Objects of more than 8 MiB go up in blocks and appear when these are committed.
package azure
