package bill

// price is a list price without free tiers and discounts, in US dollars.
type price struct {
	name string // with the number of units
	// units is what the two prices are for, and read where they were read.
	units                float64
	virginia, frankfurt  float64
	virginiaRead, euRead string
}

// region selects a price.
type region int

const (
	virginia  region = iota // us-east-1
	frankfurt               // eu-central-1
)

// Where prices were read. A copy is one of AWS's price list or of a page of AWS that others
// keep; AWS itself was not asked.
const (
	august     = "price list, 2026-08-12"
	september  = "price list, 2026-09-11"
	byAWS      = "AWS document"
	byOthers   = "other publications"
	notChecked = "**not checked**"
)

// The rows of the table of prices. Calls of Lambda, Secrets Manager and KMS, and transfer cost
// the same in both regions.
const (
	callsOfREST = iota
	callsOfHTTP
	invocations
	gigabyteSeconds
	secretReads
	keyCalls
	tableReads
	tableWrites
	logBytes
	logMonths
	transfer
	traces
	priceRows
)

const gigabyte = 1 << 30

// prices are the list prices of the first tier. aws.amazon.com has a page for each service:
// api-gateway/pricing, lambda/pricing (arm64), secrets-manager/pricing, kms/pricing,
// dynamodb/pricing/on-demand, cloudwatch/pricing, ec2/pricing/on-demand (transfer) and
// xray/pricing.
func prices() [priceRows]price {
	const million = 1e6
	return [priceRows]price{
		callsOfREST:     {"REST API, million calls", million, 3.50, 3.70, byAWS, august},
		callsOfHTTP:     {"HTTP API, million calls", million, 1.00, 1.20, byAWS, notChecked},
		invocations:     {"Lambda, million requests", million, 0.20, 0.20, byOthers, september},
		gigabyteSeconds: {"Lambda arm64, million GB-seconds", million, 13.3334, 13.3334, byOthers, september},
		secretReads:     {"Secrets Manager, 10 000 calls", 1e4, 0.05, 0.05, byOthers, byOthers},
		keyCalls:        {"KMS, 10 000 calls", 1e4, 0.03, 0.03, byOthers, byOthers},
		tableReads:      {"DynamoDB, million read units", million, 0.125, 0.1525, byOthers, september},
		tableWrites:     {"DynamoDB, million write units", million, 0.625, 0.7625, byOthers, september},
		logBytes:        {"CloudWatch Logs, GB written", gigabyte, 0.50, 0.63, byOthers, september},
		logMonths:       {"CloudWatch Logs, GB kept a month", gigabyte, 0.03, 0.0324, byOthers, september},
		transfer:        {"transfer to the internet, GB", gigabyte, 0.09, 0.09, byOthers, byOthers},
		traces:          {"X-Ray, million traces recorded", million, 5.00, 5.00, byAWS, byAWS},
	}
}

// of returns the price of units of a row.
func (r region) of(row int, units float64) float64 {
	p := prices()[row]
	if r == frankfurt {
		return p.frankfurt * units / p.units
	}
	return p.virginia * units / p.units
}
