package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// How a name is created that must not be there: the values of the parameter create.
const (
	createHeader   = "header"   // If-None-Match
	createVersions = "versions" // byVersions
)

// settings are the parameters of a URL.
type settings struct {
	provider, region, endpoint, account, profile string

	pathStyle *bool
	insecure  bool
	create    string // createHeader or createVersions; "": the provider's way

	parts  transfer.Limits // of the provider
	header [2]string       // of the provider
}

func parseSettings(q url.Values) (s settings, err error) {
	for k, v := range q {
		switch k {
		case "region":
			s.region = v[0]
		case "endpoint":
			s.endpoint = v[0]
			if u, err := url.Parse(v[0]); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				return s, fmt.Errorf("parameter endpoint is %q; write endpoint=https://host", v[0])
			}
		case "provider":
			s.provider = v[0]
		case "account":
			s.account = v[0]
		case "profile":
			s.profile = v[0]
		case "create":
			if s.create = v[0]; s.create != createHeader && s.create != createVersions {
				return s, fmt.Errorf("parameter create is %q; write %s or %s", v[0], createHeader, createVersions)
			}
		case "insecure":
			if s.insecure, err = transfer.ParseInsecure(v[0]); err != nil {
				return s, err
			}
		case "path_style":
			on, err := strconv.ParseBool(v[0])
			if err != nil {
				return s, fmt.Errorf("parameter path_style is %q; write true or false", v[0])
			}
			s.pathStyle = &on
		default:
			return s, fmt.Errorf("unknown parameter %q; there are provider, region, endpoint, account, profile, path_style, create and insecure, and credentials belong into the environment or ~/.aws/credentials", k)
		}
	}
	return s, nil
}

// open is the store.Opener. It asks nothing of the service.
func open(ctx context.Context, u *url.URL) (store.Store, error) {
	if u.User != nil {
		return nil, store.Permanent(fmt.Errorf("credentials don't belong into the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile or role"))
	}
	if u.Host == "" {
		return nil, store.Permanent(fmt.Errorf("it names no bucket; write s3://bucket/prefix"))
	}
	set, err := parseSettings(u.Query())
	if err != nil {
		return nil, store.Permanent(err)
	}
	at, err := placeOf(u, &set)
	if err == nil {
		err = set.resolve()
	}
	if err != nil {
		return nil, store.Permanent(err)
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(setTransport)),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),                // store.Retry has the policy
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired), // others than Amazon refuse the newer ones
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if set.region != "" {
		options = append(options, config.WithRegion(set.region))
	}
	if set.profile != "" {
		options = append(options, config.WithSharedConfigProfile(set.profile))
	}
	if set.endpoint != "" {
		options = append(options, config.WithBaseEndpoint(set.endpoint))
	}
	load := func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx, options...) }
	cfg, err := load(ctx)
	if err != nil {
		return nil, store.Permanent(fmt.Errorf("load the AWS configuration: %w", err))
	}
	b := &bucket{http: newHTTPClient(cfg), credentials: aws.NewCredentialsCache(freshCredentials{load}), signer: newSigner(), name: at.bucket, parts: set.parts}
	if at.root != "" {
		b.root = at.root + "/"
	}
	var cleartext error
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = b.http
		o.Credentials = b.credentials
		o.HTTPSignerV4 = b.signer
		if set.header[0] != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue(set.header[0], set.header[1]))
		}
		own := o.BaseEndpoint != nil
		if own {
			cleartext = transfer.RequireTLS(*o.BaseEndpoint, set.insecure)
		}
		o.UsePathStyle = own
		if set.pathStyle != nil {
			o.UsePathStyle = *set.pathStyle
		}
		if o.Region == "" && own {
			o.Region = "us-east-1" // what services take that have no regions
		}
		cfg.Region = o.Region
	})
	if cleartext != nil {
		return nil, store.Permanent(cleartext)
	}
	if cfg.Region == "" {
		return nil, store.Permanent(fmt.Errorf("no region is known; set AWS_REGION, or write s3://%s%s?region=…", u.Host, u.Path))
	}
	if set.create == createVersions {
		return &byVersions{bucket: b, known: map[string]string{}}, nil
	}
	b.condition = aws.String("*")
	return b, nil
}

// setTransport has timeouts for every wait but the one for a body, which is bounded where it is read or written.
func setTransport(t *http.Transport) {
	t.MaxIdleConnsPerHost = 16
	t.IdleConnTimeout = 60 * time.Second
	t.ResponseHeaderTimeout = transfer.RequestTimeout
}

// newHTTPClient is the client of the configuration, which knows AWS_CA_BUNDLE, as one that can be closed. A redirect is
// an answer: it says that the region is wrong.
func newHTTPClient(cfg aws.Config) *http.Client {
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		c.Transport = transfer.Signed{Base: b.GetTransport(), Check: checkSign}
	}
	return c
}
